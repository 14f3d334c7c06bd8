//! `[metrics]`: where Prometheus finds the metrics. Off unless there is an address, and never on a public listener.

use std::net::SocketAddr;

use super::admin::AdminSettings;
use super::section::Section;
use super::server::ServerSettings;

/// The listener for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// The address to listen on; plain http.
    pub listen: SocketAddr,
}

impl MetricsSettings {
    /// Reads the section; `server` and `admin` are who else listens.
    pub(super) fn read(
        mut section: Section<'_>,
        server: &ServerSettings,
        admin: Option<&AdminSettings>,
    ) -> Option<Self> {
        let problems = section.problems();
        let listen = section.parsed("listen", |text| {
            text.parse::<SocketAddr>()
                .map_err(|_| format!("'{text}' is not an address and port, such as 127.0.0.1:9464"))
        });
        section.finish();
        let listen = listen?;
        let address = listen.value;
        let taken = |own: &[SocketAddr]| address.port() != 0 && own.contains(&address);
        for (name, is_taken) in [
            ("server.listen", taken(&server.listen)),
            (
                "admin.listen",
                admin.is_some_and(|admin| taken(&admin.listen)),
            ),
        ] {
            if is_taken {
                problems.add(&listen.spot, format!("{address} is in `{name}` as well"));
            }
        }
        if !address.ip().is_loopback() {
            problems.remark(format!(
                "metrics.listen: whoever reaches {address} can read the metrics. They hold no secrets and name no user or \
                 client; let a firewall or network policy admit the scrapers alone"
            ));
        }
        Some(Self { listen: address })
    }
}
