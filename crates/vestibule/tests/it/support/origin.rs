//! A website of a client's maker, behind a proxy that knows where it is: the way a metadata document really comes in,
//! with its https name and its certificate, on this computer only.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::Uri;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vestibule::settings::Settings;
use vestibule_guard::fetch::EgressProxy;

/// The name that the site's certificate has.
const SITE: &str = "client.example";

pub(crate) struct ClientSite {
    proxy: Uri,
    ca_file: std::path::PathBuf,
    answer: Arc<Mutex<(String, String)>>,
    requests: Arc<AtomicUsize>,
}

impl ClientSite {
    pub(crate) async fn start() -> Self {
        Self::named(SITE).await
    }

    /// With the name of a maker that a test is about.
    pub(crate) async fn named(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let unique = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let ca_file =
            std::env::temp_dir().join(format!("vestibule-site-{}-{}.pem", unique.0, unique.1));
        std::fs::write(&ca_file, pair.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let answer = Arc::new(Mutex::new((
            "503 Service Unavailable".to_owned(),
            String::new(),
        )));
        let requests = Arc::new(AtomicUsize::new(0));
        let (own, count) = (Arc::clone(&answer), Arc::clone(&requests));
        let tunnel: Arc<str> = format!("CONNECT {name}:443 ").into();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (acceptor, own, count) =
                    (acceptor.clone(), Arc::clone(&own), Arc::clone(&count));
                let tunnel = Arc::clone(&tunnel);
                tokio::spawn(async move {
                    let head = head(&mut stream).await;
                    assert!(head.starts_with(&*tunnel), "{head}");
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let _ = self::head(&mut stream).await;
                    count.fetch_add(1, Ordering::SeqCst);
                    let (status, body) = own.lock().unwrap().clone();
                    let text = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(text.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            proxy,
            ca_file,
            answer,
            requests,
        }
    }

    /// Makes the house fetch documents through this proxy, and believe this site's certificate.
    pub(crate) fn configure(&self, settings: &mut Settings) {
        settings.clients.egress_proxy = Some(EgressProxy::new(self.proxy.clone(), None));
        settings.clients.ca_file = Some(self.ca_file.clone());
    }

    pub(crate) fn serves(&self, document: &serde_json::Value) {
        *self.answer.lock().unwrap() = ("200 OK".to_owned(), document.to_string());
    }

    pub(crate) fn fails(&self, status: &str) {
        *self.answer.lock().unwrap() = (status.to_owned(), String::new());
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for ClientSite {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
