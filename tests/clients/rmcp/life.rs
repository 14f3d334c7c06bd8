//! The Rust SDK: obeys the orders of `tests/clients/life/orders.mjs`.
//!
//! `rmcp-life MCP_URL REDIRECT_URI [DOCUMENT_URL]`. The browser is the program that BROWSER names.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmcp::model::{CallToolRequestParams, ProgressNotificationParam};
use rmcp::service::{ClientInitializeError, NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthorizationCallback, AuthorizationManager, AuthorizationRequest, CredentialStore,
    InMemoryCredentialStore, OAuthState,
};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, InsufficientScopeError, StreamableHttpClientTransportConfig,
};
use rmcp::{ClientHandler, RoleClient, ServiceError, ServiceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

type Failure = Box<dyn Error + Send + Sync>;
type Service = RunningService<RoleClient, Watcher>;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// One application with one server.
struct Application {
    mcp_url: String,
    redirect: String,
    document: Option<String>,
    store: InMemoryCredentialStore,
    auth: Option<AuthClient<reqwest::Client>>,
    service: Option<Service>,
    watcher: Watcher,
}

impl Application {
    async fn obey(&mut self, order: &Value) -> Result<Value, Failure> {
        match order["do"].as_str().unwrap_or_default() {
            "connect" => self.connect().await,
            "call" => {
                let tool = order["tool"].as_str().unwrap_or_default().to_owned();
                self.call(&tool, json!({})).await
            }
            "stream" => self.stream(&order["from"], &order["interval"]).await,
            "expire" => self.expire().await,
            "forget" => self.forget().await,
            "close" => self.close().await,
            other => Err(format!("no order `{other}`").into()),
        }
    }

    /// A new session with what is stored, as after a start of the application.
    async fn connect(&mut self) -> Result<Value, Failure> {
        self.close().await?;
        let stored = self.manager().await?;
        let begun = match stored {
            Some(manager) => self.serve(manager).await,
            None => Err(Refused::SignIn),
        };
        match begun {
            Ok(()) => {}
            Err(Refused::SignIn) => {
                let manager = self.sign_in().await?;
                self.serve(manager).await?;
            }
            Err(other) => return Err(other.into()),
        }
        Ok(Value::Null)
    }

    /// As the SDK has it: what is refused for want of a scope is asked for, and what is refused altogether begins again.
    async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        let refused = match self.ask(tool, arguments.clone()).await {
            Ok(value) => return Ok(value),
            Err(refused) => refused,
        };
        match refused {
            Refused::Scope(scope) => self.upgrade(&scope).await?,
            Refused::SignIn => {
                self.connect().await?;
            }
            other @ Refused::Other(_) => return Err(other.into()),
        }
        Ok(self.ask(tool, arguments).await?)
    }

    async fn stream(&mut self, from: &Value, interval: &Value) -> Result<Value, Failure> {
        self.times().clear();
        let arguments = json!({ "from": from, "interval_ms": interval });
        self.ask("countdown", arguments).await?;
        let times = self.times().clone();
        let spread = match (times.first(), times.last()) {
            (Some(first), Some(last)) => last.duration_since(*first).as_millis(),
            _ => 0,
        };
        Ok(json!({ "notifications": times.len(), "spread": u64::try_from(spread)? }))
    }

    /// The server refuses the token; the SDK refreshes then.
    async fn expire(&mut self) -> Result<Value, Failure> {
        let mut stored = self.store.load().await?.ok_or("nothing is stored")?;
        let mut tokens = serde_json::to_value(&stored.token_response)?;
        tokens["access_token"] = json!("expired");
        stored.token_response = serde_json::from_value(tokens)?;
        self.store.save(stored).await?;
        Ok(Value::Null)
    }

    async fn forget(&mut self) -> Result<Value, Failure> {
        self.store.clear().await?;
        Ok(Value::Null)
    }

    async fn close(&mut self) -> Result<Value, Failure> {
        if let Some(service) = self.service.take() {
            let _ = tokio::time::timeout(Duration::from_secs(2), service.cancel()).await;
        }
        Ok(Value::Null)
    }

    /// With what is stored, if there is anything.
    async fn manager(&self) -> Result<Option<AuthorizationManager>, Failure> {
        let mut manager = AuthorizationManager::new(&self.mcp_url).await?;
        manager.set_credential_store(self.store.clone());
        Ok(manager.initialize_from_store().await?.then_some(manager))
    }

    async fn sign_in(&self) -> Result<AuthorizationManager, Failure> {
        let mut manager = AuthorizationManager::new(&self.mcp_url).await?;
        manager.set_credential_store(self.store.clone());
        let mut oauth = OAuthState::Unauthorized(manager);
        let mut request =
            AuthorizationRequest::new(&self.redirect).with_client_name("Rust application");
        if let Some(document) = &self.document {
            request = request.with_client_metadata_url(document);
        }
        oauth.start_authorization(request).await?;
        let answer = self.browse(&oauth.get_authorization_url().await?).await?;
        oauth.handle_callback_url(&answer).await?;
        let manager = oauth.into_authorization_manager();
        Ok(manager.ok_or("not authorized after all")?)
    }

    async fn upgrade(&self, scope: &str) -> Result<(), Failure> {
        let auth = self.auth.as_ref().ok_or("not connected")?;
        let manager = auth.auth_manager.lock().await;
        let url = manager.request_scope_upgrade(scope).await?;
        let answer = AuthorizationCallback::from_redirect_url(&self.browse(&url).await?)?;
        let issuer = answer.issuer.as_deref();
        manager
            .exchange_code_for_token_with_issuer(&answer.code, &answer.csrf_token, issuer)
            .await?;
        Ok(())
    }

    async fn serve(&mut self, manager: AuthorizationManager) -> Result<(), Refused> {
        let http = reqwest::Client::builder().no_proxy().build();
        let auth = AuthClient::new(http.map_err(Refused::other)?, manager);
        let config = StreamableHttpClientTransportConfig::with_uri(self.mcp_url.as_str());
        let transport = StreamableHttpClientTransport::with_client(auth.clone(), config);
        self.auth = Some(auth);
        match self.watcher.clone().serve(transport).await {
            Ok(service) => self.service = Some(service),
            Err(error) if error.is_authorization_required() => return Err(Refused::SignIn),
            Err(ClientInitializeError::TransportError { error, .. }) => {
                return Err(Refused::of(error.error.as_ref()));
            }
            Err(error) => return Err(Refused::other(error)),
        }
        Ok(())
    }

    async fn ask(&self, tool: &str, arguments: Value) -> Result<Value, Refused> {
        let service = self.service.as_ref();
        let service = service.ok_or_else(|| Refused::Other("not connected".into()))?;
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = service.call_tool(params).await;
        let result = result.map_err(|error| match error {
            ServiceError::TransportSend(error) => Refused::of(error.error.as_ref()),
            other => Refused::other(other),
        })?;
        if result.is_error == Some(true) {
            return Err(Refused::Other(format!("{:?}", result.content).into()));
        }
        Ok(result.structured_content.unwrap_or_default())
    }

    /// Opens the browser and waits for its answer at the redirect URI.
    async fn browse(&self, url: &str) -> Result<String, Failure> {
        let origin = self.redirect.trim_end_matches("/callback");
        let port = origin.rsplit(':').next().unwrap_or_default();
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
        let browser = std::env::var_os("BROWSER").ok_or("BROWSER is not set")?;
        Command::new(browser).arg(url).status().await?;
        let waiting = async {
            let (mut connection, _) = listener.accept().await?;
            let mut head = vec![0; 16 * 1024];
            let length = connection.read(&mut head).await?;
            let page = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            connection.write_all(page.as_bytes()).await?;
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            Ok::<_, Failure>(format!("{origin}{target}"))
        };
        let answer = tokio::time::timeout(PATIENCE, waiting).await;
        answer.map_err(|_| "the browser brought no answer")?
    }

    fn times(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.watcher.lock()
    }
}

/// Why the server, or the SDK before it, did not do a thing.
#[derive(Debug)]
enum Refused {
    /// A scope is missing.
    Scope(String),
    /// There are no tokens that are worth anything.
    SignIn,
    Other(Failure),
}

impl Refused {
    fn other(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }

    /// What the SDK wrapped, however deep.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut sources = vec![error.to_string()];
        let mut current = Some(error);
        while let Some(error) = current {
            if let Some(scope) = error.downcast_ref::<InsufficientScopeError>() {
                return Self::Scope(scope.required_scope.clone().unwrap_or_default());
            }
            if error.is::<AuthRequiredError>() {
                return Self::SignIn;
            }
            sources.push(error.to_string());
            current = error.source();
        }
        // A refresh as a client that the server does not know (any more).
        if sources.iter().any(|text| text.contains("invalid_client")) {
            return Self::SignIn;
        }
        Self::Other(sources.join(": ").into())
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scope(scope) => write!(f, "the scope {scope} is missing"),
            Self::SignIn => f.write_str("nobody is signed in"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl Error for Refused {}

/// Writes down when progress arrives.
#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Vec<Instant>>>);

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientHandler for Watcher {
    async fn on_progress(
        &self,
        _params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.lock().push(Instant::now());
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut application = Application {
        mcp_url: arguments.next().ok_or("which server?")?,
        redirect: arguments.next().ok_or("which redirect URI?")?,
        document: arguments.next(),
        store: InMemoryCredentialStore::new(),
        auth: None,
        service: None,
        watcher: Watcher::default(),
    };
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    while let Some(order) = orders.next_line().await? {
        let order: Value = serde_json::from_str(&order)?;
        let answer = match application.obey(&order).await {
            Ok(value) => json!({ "ok": true, "value": value }),
            Err(error) => json!({ "ok": false, "error": error.to_string() }),
        };
        out.write_all(format!("{answer}\n").as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}
