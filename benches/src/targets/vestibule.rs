//! Vestibule's own configurations, the stand-in for its provider, and the keys that everybody verifies with.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vestibule_oauth::jose::{SigningAlg, SigningKey};
use vestibule_oauth::secret::Secret;

use super::{Provider, World};
use crate::process::{LOAD_CPU, Process, TARGET_CPU, pinned};
use crate::{Fallible, PUBLIC_URL, UPSTREAM_PATH};

/// Starts the stand-in, and waits until it says who it is.
pub(super) async fn provider(programs: &Path, run: &Path) -> Fallible<(Process, Provider)> {
    let mut command = pinned(LOAD_CPU, &programs.join("vestibule-standin"));
    command.args(["--json", "--callback", &format!("{PUBLIC_URL}/callback")]);
    // Otherwise a refresh would wait for its two signatures, and Vestibule would sleep most of the time.
    command.args(["--same-tokens", "1"]);
    let process = Process::start(&mut command, &run.join("provider.log"))?;
    let began = Instant::now();
    loop {
        let said = fs::read_to_string(&process.log)?;
        if let Some(line) = said
            .lines()
            .find(|line| line.starts_with('{') && said.ends_with('\n'))
        {
            let said: Value = serde_json::from_str(line)?;
            let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
            let provider = Provider {
                issuer: text("issuer"),
                client_id: text("client_id"),
                client_secret: text("client_secret"),
            };
            return Ok((process, provider));
        }
        if began.elapsed() > Duration::from_secs(30) {
            return Err(format!("the stand-in says nothing: {said}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Makes the key ring, `public.pem` beside it, and gives the public keys as a JWKS document.
pub(super) fn keys(programs: &Path, run: &Path) -> Fallible<String> {
    let ring = run.join("keys.toml");
    let made = Command::new(programs.join("vestibule"))
        .args([
            "keys", "generate", "--alg", "ES256", "--alg", "RS256", "--out",
        ])
        .arg(&ring)
        .output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    let text = fs::read_to_string(&ring)?;
    let mut keys = text
        .split("-----BEGIN PRIVATE KEY-----")
        .skip(1)
        .filter_map(|rest| {
            let body = rest.split("-----END").next()?;
            let body: String = body.split_whitespace().collect();
            let body = body.replace("\\n", "");
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
            let key = SigningKey::from_pem(SigningAlg::Rs256, &Secret::new(pem)).ok()?;
            Some((STANDARD.decode(body).ok()?, key))
        });
    let (der, key) = keys.next().ok_or("the key ring has no RS256 key")?;
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(&der)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    let encoded = STANDARD.encode(public.as_ref());
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    fs::write(run.join("public.pem"), pem)?;
    Ok(json!({ "keys": [key.public_jwk()] }).to_string())
}

/// The version of the program that is measured.
pub(super) fn version(world: &World) -> Fallible<String> {
    let said = Command::new(world.programs.join("vestibule"))
        .arg("--version")
        .output()?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// Writes the configuration of one kind, and gives what starts it.
pub(super) fn command(world: &World, name: &str, address: SocketAddr) -> Fallible<Command> {
    let directory = world.directory.join(name);
    fs::create_dir_all(&directory)?;
    let file = directory.join("vestibule.toml");
    fs::write(&file, configuration(world, name, address))?;
    fs::copy(
        world.directory.join("keys.toml"),
        directory.join("keys.toml"),
    )?;
    let mut command = pinned(TARGET_CPU, &world.programs.join("vestibule"));
    command.args(["serve", "--config"]).arg(&file).env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    Ok(command)
}

fn configuration(world: &World, name: &str, address: SocketAddr) -> String {
    let credential = match name {
        "vestibule-credential" => "vestibule-token",
        _ => "none",
    };
    let (format, alg) = match name {
        "vestibule-jwt" => ("jwt", "RS256"),
        _ => ("sealed", "ES256"),
    };
    let store = match name {
        "vestibule-redb" => "redb:vestibule.redb",
        _ => "none",
    };
    let rule = match name {
        "vestibule-rules" => "[[resource.rule]]\ntools = [\"bench_*\"]\nscopes = [\"mcp:read\"]\n",
        _ => "",
    };
    let limits = ["authorize", "consent", "callback", "token", "register"].map(|endpoint| {
        let client = match endpoint {
            "authorize" => "per_client = \"1000000/1s\"\n",
            "token" => "per_client = \"1000000/1s\"\nper_user = \"1000000/1s\"\n",
            _ => "",
        };
        format!(
            "[limits.{endpoint}]\nper_address = \"1000000/1s\"\n{client}total = \"1000000/1s\"\n"
        )
    });
    let Provider {
        issuer,
        client_id,
        client_secret,
    } = &world.provider;
    // Nothing is switched off: the limits count, but they are too high to be met.
    format!(
        "public_url = \"{PUBLIC_URL}\"\n\
         [server]\nlisten = [\"{address}\"]\nmax_connections = 20000\n\
         [provider]\nissuer = \"{issuer}\"\nclient_id = \"{client_id}\"\nclient_secret = \"{client_secret}\"\n\
         scopes = [\"openid\", \"email\", \"profile\"]\npreset = \"cognito\"\n\
         [[resource]]\npath = \"/mcp\"\nname = \"bench\"\nupstream = \"http://{upstream}{UPSTREAM_PATH}\"\n\
         scopes = [\"mcp:read\", \"mcp:write\"]\n\
         [resource.credential]\ntype = \"{credential}\"\n{rule}\
         [tokens]\nformat = \"{format}\"\nsigning_alg = \"{alg}\"\n\
         [keys]\nfile = \"keys.toml\"\n\
         [store]\nurl = \"{store}\"\n\
         {limits}[limits.mcp]\nper_user = \"1000000/1s\"\n",
        upstream = world.upstream,
        limits = limits.concat(),
    )
}
