//! The others: what starts them, configured to do no more than they must. `./bench --install` gets those that can be had.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::World;
use crate::process::{TARGET_CPU, pinned};
use crate::{Fallible, PUBLIC_URL, UPSTREAM_PATH};

/// What starts a peer at `address`, and its version; `None` when it is not installed.
pub(super) fn command(
    world: &World,
    name: &str,
    address: SocketAddr,
) -> Fallible<Option<(Command, String)>> {
    match name {
        "nginx" => nginx(world, address),
        "haproxy" | "haproxy-jwt" => haproxy(world, name, address),
        "envoy-jwt" | "envoy-jwt-cache" => envoy(world, name, address),
        "express" => express(world, address),
        "fastmcp" | "fastmcp-proxy" => fastmcp(world, name, address),
        _ => Ok(None),
    }
}

/// A program that the system has.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places
        .map(|place| place.join(name))
        .find(|file| file.is_file())
}

/// What a program prints about itself, from `word` to the end of the line.
fn version(command: &mut Command, word: &str) -> String {
    let Ok(said) = command.output() else {
        return String::new();
    };
    let said = [said.stdout, said.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let from = |line: &str| Some(line.get(line.find(word)?..)?.trim().to_owned());
    said.lines().find_map(from).unwrap_or_default()
}

fn write(world: &World, name: &str, text: &str) -> Fallible<PathBuf> {
    let file = world.directory.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

fn nginx(world: &World, address: SocketAddr) -> Fallible<Option<(Command, String)>> {
    let Some(program) = installed("nginx") else {
        return Ok(None);
    };
    let run = world.directory.join("nginx");
    fs::create_dir_all(&run)?;
    let (run, upstream) = (run.display(), world.upstream);
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {run}/{kind};"))
        .join(" ");
    // Who is root must say that workers stay root: they could not write below target/.
    let user = if fs::metadata("/proc/self")
        .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
    {
        "user root;"
    } else {
        ""
    };
    let text = format!(
        "{user} daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {run}/pid; error_log stderr;\n\
         events {{ worker_connections 20000; }}\n\
         http {{\n access_log off; keepalive_requests 1000000000; {paths}\n\
         upstream up {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{ listen {address} backlog=8192;\n\
         location / {{ proxy_pass http://up{UPSTREAM_PATH}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_buffering off; proxy_read_timeout 1h; }} }} }}\n"
    );
    let file = write(world, "nginx.conf", &text)?;
    let mut command = pinned(TARGET_CPU, &program);
    command
        .arg("-p")
        .arg(world.directory.join("nginx"))
        .arg("-c")
        .arg(file);
    Ok(Some((
        command,
        version(Command::new(&program).arg("-v"), "nginx/"),
    )))
}

fn haproxy(world: &World, name: &str, address: SocketAddr) -> Fallible<Option<(Command, String)>> {
    let own = world.peers.join("haproxy/usr/sbin/haproxy");
    let libraries = world.peers.join("haproxy/usr/lib/x86_64-linux-gnu");
    let program = installed("haproxy").or_else(|| own.is_file().then_some(own));
    let Some(program) = program else {
        return Ok(None);
    };
    let checks = if name == "haproxy-jwt" {
        let key = world.directory.join("public.pem");
        let refuse = "http-request return status 401 content-type application/json string \"{\\\"error\\\":\\\"unauthorized\\\"}\" \
             hdr WWW-Authenticate \"Bearer resource_metadata=\\\"https://mcp.bench.example/.well-known/oauth-protected-resource/mcp\\\"\"";
        format!(
            " {refuse} unless {{ req.hdr(authorization) -m found }}\n \
             http-request set-var(txn.bearer) http_auth_bearer\n \
             http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')\n \
             http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')\n \
             http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')\n \
             http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')\n \
             http-request set-var(txn.now) date()\n \
             {refuse} unless {{ var(txn.alg) -m str RS256 }}\n \
             {refuse} unless {{ var(txn.iss) -m str {PUBLIC_URL} }}\n \
             {refuse} unless {{ var(txn.aud) -m str {PUBLIC_URL}/mcp }}\n \
             {refuse} if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}\n \
             {refuse} unless {{ var(txn.bearer),jwt_verify(txn.alg,\"{}\") -m int 1 }}\n",
            key.display()
        )
    } else {
        String::new()
    };
    let text = format!(
        "global\n nbthread 1\n maxconn 9000\n tune.bufsize 16384\n\
         defaults\n mode http\n timeout client 1h\n timeout server 1h\n timeout connect 5s\n timeout http-keep-alive 1h\n \
         option http-no-delay\n\
         frontend front\n bind {address}\n{checks} http-request del-header authorization\n default_backend back\n\
         backend back\n http-reuse always\n http-request set-path {UPSTREAM_PATH}\n server one {}\n",
        world.upstream
    );
    let file = write(world, &format!("{name}.cfg"), &text)?;
    let mut command = pinned(TARGET_CPU, &program);
    command
        .arg("-db")
        .arg("-f")
        .arg(file)
        .env("LD_LIBRARY_PATH", &libraries);
    let mut asked = Command::new(&program);
    asked.arg("-v").env("LD_LIBRARY_PATH", &libraries);
    Ok(Some((command, version(&mut asked, "HAProxy version"))))
}

fn envoy(world: &World, name: &str, address: SocketAddr) -> Fallible<Option<(Command, String)>> {
    let own = world.peers.join("envoy/envoy/_bin/envoy");
    let program = installed("envoy").or_else(|| own.is_file().then_some(own));
    let Some(program) = program else {
        return Ok(None);
    };
    let cache = if name == "envoy-jwt-cache" {
        "jwt_cache_config: { jwt_cache_size: 20000, jwt_max_token_size: 16384 }"
    } else {
        "forward: false"
    };
    let (jwks, upstream) = (world.jwks.replace('\'', ""), world.upstream);
    let text = format!(
        r#"static_resources:
  listeners:
  - address: {{ socket_address: {{ address: {host}, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          generate_request_id: false
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: up, timeout: 0s, prefix_rewrite: "{UPSTREAM_PATH}" }}
          http_filters:
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                own:
                  issuer: {PUBLIC_URL}
                  audiences: ["{PUBLIC_URL}/mcp"]
                  local_jwks: {{ inline_string: '{jwks}' }}
                  {cache}
              rules:
              - match: {{ prefix: "/" }}
                requires: {{ provider_name: own }}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{ thresholds: [{{ max_connections: 20000, max_requests: 20000, max_pending_requests: 20000 }}] }}
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {up_host}, port_value: {up_port} }} }} }}
"#,
        host = address.ip(),
        port = address.port(),
        up_host = upstream.ip(),
        up_port = upstream.port(),
    );
    let file = write(world, &format!("{name}.yaml"), &text)?;
    let mut command = pinned(TARGET_CPU, &program);
    command.arg("-c").arg(file);
    command.args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]);
    // version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
    let whole = version(Command::new(&program).arg("--version"), "version: ");
    let number = whole.split('/').nth(1).unwrap_or_default();
    Ok(Some((command, format!("Envoy {number}"))))
}

fn express(world: &World, address: SocketAddr) -> Fallible<Option<(Command, String)>> {
    let place = world.peers.join("express");
    let sdk = place.join("node_modules/@modelcontextprotocol/sdk/package.json");
    let (Some(program), Ok(sdk)) = (installed("node"), fs::read_to_string(sdk)) else {
        return Ok(None);
    };
    let file = place.join("server.mjs");
    fs::write(&file, include_str!("../../peers/express/server.mjs"))?;
    let mut command = pinned(TARGET_CPU, &program);
    command.arg(file).env("NODE_ENV", "production");
    settings(&mut command, world, address);
    let sdk: serde_json::Value = serde_json::from_str(&sdk)?;
    let node = version(Command::new(&program).arg("--version"), "v");
    Ok(Some((
        command,
        format!(
            "MCP SDK {}, Node {node}",
            sdk["version"].as_str().unwrap_or_default()
        ),
    )))
}

fn fastmcp(world: &World, name: &str, address: SocketAddr) -> Fallible<Option<(Command, String)>> {
    let place = world.peers.join("fastmcp");
    let program = place.join("bin/python");
    if !place.join("bin/fastmcp").is_file() {
        return Ok(None);
    }
    let script = include_str!("../../peers/fastmcp/server.py");
    // Not called as what it imports.
    let file = write(world, "fastmcp_server.py", script)?;
    let mut command = pinned(TARGET_CPU, &program);
    command
        .arg(file)
        .env("FASTMCP_CHECK_FOR_UPDATES", "off")
        .env("NO_COLOR", "1");
    if name == "fastmcp-proxy" {
        command
            .env("BENCH_PROVIDER", &world.provider.issuer)
            .env("CLIENT_ID", &world.provider.client_id)
            .env("CLIENT_SECRET", &world.provider.client_secret);
    }
    settings(&mut command, world, address);
    let mut asked = Command::new(&program);
    asked.args([
        "-c",
        "import importlib.metadata as m; print('FastMCP', m.version('fastmcp'))",
    ]);
    Ok(Some((command, version(&mut asked, "FastMCP"))))
}

/// What the scripts of peers are told.
fn settings(command: &mut Command, world: &World, address: SocketAddr) {
    let key: &Path = &world.directory.join("public.pem");
    command
        .env("PORT", address.port().to_string())
        .env("UPSTREAM", format!("http://{}", world.upstream))
        .env("UPSTREAM_PATH", UPSTREAM_PATH)
        .env("PUBLIC_URL", PUBLIC_URL)
        .env("JWKS", &world.jwks)
        .env("PUBLIC_KEY", key);
}
