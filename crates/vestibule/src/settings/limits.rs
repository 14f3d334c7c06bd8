//! `[limits]`: how many requests each endpoint takes, by network, client, user and in all.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::problem::{Located, Problems};
use super::section::Section;
use super::units;

/// A rate or `off`, for editors.
const RATE_PATTERN: &str = "^([0-9]+ */ *[0-9]+ *(ms|s|m|min|h|d)?|[oO][fF][fF])$";

/// A bucket of requests that refills evenly: written `"600/1m"`, 600 at once and 600 a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    requests: NonZeroU32,
    period: Duration,
}

impl Rate {
    const MOST: u32 = 1_000_000;
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// Reads `"600/1m"`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is not a limit: write a number and a duration as in \"600/1m\", or \"off\""
            )
        };
        let (requests, period) = text.split_once('/').ok_or_else(wrong)?;
        let requests: u32 = requests.trim().parse().map_err(|_| wrong())?;
        let requests = NonZeroU32::new(requests).filter(|requests| requests.get() <= Self::MOST);
        let requests = requests.ok_or_else(|| {
            format!(
                "the number of a limit must be between 1 and {}; write \"off\" for no limit",
                Self::MOST
            )
        })?;
        let period = units::duration(period.trim()).map_err(|_| wrong())?;
        if !(Self::SHORTEST..=Self::LONGEST).contains(&period) {
            return Err("the duration of a limit must be between 1s and 24h".to_owned());
        }
        Ok(Self { requests, period })
    }

    /// A rate for a minute.
    const fn minutely(requests: NonZeroU32) -> Self {
        Self {
            requests,
            period: Duration::from_secs(60),
        }
    }

    /// How many at once, and in a period.
    pub fn requests(self) -> u32 {
        self.requests.get()
    }

    /// How long an empty bucket takes to be full.
    pub fn period(self) -> Duration {
        self.period
    }

    /// Less in the long run than `other`?
    fn is_below(self, other: Self) -> bool {
        let per = |one: Self, period: Duration| u128::from(one.requests()) * period.as_millis();
        per(self, other.period) < per(other, self.period)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.requests, self.period.as_secs())
    }
}

/// The limits of one endpoint; `None` means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointLimits {
    /// For one network: an IPv4 /24 or an IPv6 /64.
    pub per_address: Option<Rate>,
    /// For one registered client from one network.
    pub per_client: Option<Rate>,
    /// For one user.
    pub per_user: Option<Rate>,
    /// For everybody together, in this process.
    pub total: Option<Rate>,
}

/// The limits of every endpoint. The defaults are far above what a company behind one address or a hosted assistant
/// does; they stop floods, not people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Whether anything is counted.
    pub enabled: bool,
    /// `/authorize`.
    pub authorize: EndpointLimits,
    /// `/consent`.
    pub consent: EndpointLimits,
    /// `/callback`.
    pub callback: EndpointLimits,
    /// `/token`.
    pub token: EndpointLimits,
    /// `/revoke`.
    pub revoke: EndpointLimits,
    /// `/register`.
    pub register: EndpointLimits,
    /// `/logout`.
    pub logout: EndpointLimits,
    /// `/connections`.
    pub connections: EndpointLimits,
    /// The protected resources, after sign-in.
    pub mcp: EndpointLimits,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let rate = |requests: u32| NonZeroU32::new(requests).map(Rate::minutely);
        let browser = EndpointLimits {
            per_address: rate(3_000),
            total: rate(12_000),
            ..EndpointLimits::default()
        };
        Self {
            enabled: true,
            authorize: EndpointLimits {
                per_client: rate(600),
                ..browser
            },
            consent: browser,
            callback: browser,
            token: EndpointLimits {
                per_address: rate(12_000),
                per_client: rate(1_200),
                per_user: rate(600),
                total: rate(60_000),
            },
            revoke: EndpointLimits {
                per_address: rate(3_000),
                per_client: rate(600),
                total: rate(12_000),
                ..EndpointLimits::default()
            },
            register: EndpointLimits {
                per_address: rate(1_200),
                total: rate(6_000),
                ..EndpointLimits::default()
            },
            logout: browser,
            connections: browser,
            mcp: EndpointLimits::default(),
        }
    }
}

impl LimitSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let mut settings = Self::default();
        if let Some(enabled) = section.flag("enabled") {
            settings.enabled = enabled.value;
            if !enabled.value {
                section.problems().warn(
                    &enabled.spot,
                    "limits are off: anybody can keep this server and the provider busy",
                );
            }
        }
        for (key, target, kinds) in [
            (
                "authorize",
                &mut settings.authorize,
                &["per_address", "per_client", "total"][..],
            ),
            ("consent", &mut settings.consent, &["per_address", "total"]),
            (
                "callback",
                &mut settings.callback,
                &["per_address", "total"],
            ),
            (
                "token",
                &mut settings.token,
                &["per_address", "per_client", "per_user", "total"],
            ),
            (
                "revoke",
                &mut settings.revoke,
                &["per_address", "per_client", "total"],
            ),
            (
                "register",
                &mut settings.register,
                &["per_address", "total"],
            ),
            ("logout", &mut settings.logout, &["per_address", "total"]),
            (
                "connections",
                &mut settings.connections,
                &["per_address", "total"],
            ),
            ("mcp", &mut settings.mcp, &["per_user"]),
        ] {
            target.read(section.section(key), kinds);
        }
        section.finish();
        settings
    }
}

impl EndpointLimits {
    fn read(&mut self, mut section: Section<'_>, kinds: &[&'static str]) {
        let problems = section.problems();
        let mut per_address = None;
        let mut total = None;
        for kind in kinds {
            let Some(written) = section.parsed_like(kind, RATE_PATTERN, rate_or_off) else {
                continue;
            };
            match *kind {
                "per_address" => self.per_address = written.value,
                "per_client" => self.per_client = written.value,
                "per_user" => self.per_user = written.value,
                _ => self.total = written.value,
            }
            match *kind {
                "per_address" => per_address = Some(written),
                "total" => total = Some(written),
                _ => {}
            }
        }
        compare(per_address.as_ref(), total.as_ref(), problems);
        section.finish();
    }
}

/// Both are written and contradict each other.
fn compare(
    per_address: Option<&Located<Option<Rate>>>,
    total: Option<&Located<Option<Rate>>>,
    problems: &Problems,
) {
    if let (Some(per_address), Some(total)) = (per_address, total)
        && let (Some(one), Some(all)) = (per_address.value, total.value)
        && all.is_below(one)
    {
        problems.add(
            &total.spot,
            "is less than `per_address`: one network could use up what is there for all",
        );
    }
}

fn rate_or_off(text: &str) -> Result<Option<Rate>, String> {
    if text.eq_ignore_ascii_case("off") {
        Ok(None)
    } else {
        Rate::parse(text).map(Some)
    }
}
