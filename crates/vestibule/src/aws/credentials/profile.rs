//! Profiles in `~/.aws/config` and `~/.aws/credentials`: keys, `credential_process` and web identity
//! ("Shared config and credentials files" in the AWS SDKs and Tools Reference Guide).
//!
//! IAM Identity Center and `source_profile` are left to the AWS CLI, which hands its credentials out by
//! `credential_process`; the error says how.

use std::collections::BTreeMap;
use std::path::Path;

use vestibule_guard::fetch::Outbound;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::UnixTime;

use super::{Credentials, Found, absent, failed, process, web_identity};
use crate::aws::environment::AwsEnvironment;

/// Keys whose values are secrets.
const SECRET: [&str; 2] = ["aws_secret_access_key", "aws_session_token"];

/// What the files say about one profile.
#[derive(Default)]
pub(in crate::aws) struct Profile {
    plain: BTreeMap<String, String>,
    secret: BTreeMap<&'static str, Secret>,
}

impl Profile {
    /// The profile that the environment names, else the default one; `None` when no file has it.
    pub(in crate::aws) fn load(environment: &AwsEnvironment) -> Result<Option<Self>, String> {
        let (name, _) = environment.profile();
        let mut profile = None;
        // The credentials file is read last: it wins.
        let files = [
            ("AWS_CONFIG_FILE", "config", true),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", false),
        ];
        for (variable, file, is_config) in files {
            let Some(path) = environment.profile_file(variable, file) else {
                continue;
            };
            let Some(text) = read(&path)? else { continue };
            if has_section(&text, name, is_config) {
                let profile: &mut Self = profile.get_or_insert_default();
                profile.lay_over(&text, name, is_config);
            }
        }
        Ok(profile)
    }

    /// A key that is not secret.
    pub(in crate::aws) fn get(&self, key: &str) -> Option<&str> {
        let value = self.plain.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    fn lay_over(&mut self, text: &str, name: &str, is_config: bool) {
        let mut is_ours = false;
        for line in text.lines() {
            if let Some(section) = section_name(line) {
                is_ours = means(section, name, is_config);
                continue;
            }
            // Indented lines belong to the key above (`s3 =`): none that we need.
            if !is_ours || line.starts_with([' ', '\t', '#', ';']) {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let key = key.trim().to_ascii_lowercase();
            // A comment after a value begins with a blank.
            let value = value.split(" #").next().unwrap_or(value);
            let value = value.split(" ;").next().unwrap_or(value).trim();
            match SECRET.iter().find(|secret| **secret == key) {
                Some(secret) => {
                    self.secret.insert(secret, Secret::new(value));
                }
                None => {
                    self.plain.insert(key, value.to_owned());
                }
            }
        }
    }
}

/// The link of the chain.
pub(super) async fn credentials(
    environment: &AwsEnvironment,
    outbound: &Outbound,
    now: UnixTime,
) -> Found {
    let (name, asked_for) = environment.profile();
    let nothing = |why: String| {
        if asked_for { failed(why) } else { absent(why) }
    };
    let profile = Profile::load(environment)
        .map_err(failed)?
        .ok_or_else(|| nothing(format!("there is no profile `{name}`")))?;
    if let Some(id) = profile.get("aws_access_key_id") {
        let secret = profile.secret.get("aws_secret_access_key");
        let secret = secret.ok_or_else(|| {
            failed(format!(
                "the profile `{name}` has a key id and no aws_secret_access_key"
            ))
        })?;
        return Ok(Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: secret.clone(),
            session_token: profile.secret.get("aws_session_token").cloned(),
            expires_at: None,
            source: "profile",
        });
    }
    if let Some(command) = profile.get("credential_process") {
        return process::credentials(command).await;
    }
    if let (Some(file), Some(role)) = (
        profile.get("web_identity_token_file"),
        profile.get("role_arn"),
    ) {
        let session = profile.get("role_session_name");
        let region = environment.region();
        let role = web_identity::Role {
            file: Path::new(file),
            arn: role,
            session,
            region: region.as_deref(),
        };
        return web_identity::assume(&role, environment, outbound, now).await;
    }
    let for_the_cli = [
        "sso_session",
        "sso_start_url",
        "source_profile",
        "credential_source",
        "login_session",
    ];
    if for_the_cli.iter().any(|key| profile.get(key).is_some()) {
        return Err(failed(format!(
            "the profile `{name}` needs the AWS CLI; make another profile with `credential_process = aws configure \
             export-credentials --profile {name} --format process`"
        )));
    }
    Err(nothing(format!(
        "the profile `{name}` holds no credentials"
    )))
}

fn read(path: &Path) -> Result<Option<zeroize::Zeroizing<String>>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(zeroize::Zeroizing::new(text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn section_name(line: &str) -> Option<&str> {
    let (name, _) = line.trim_end().strip_prefix('[')?.split_once(']')?;
    Some(name.trim())
}

/// `[profile NAME]` in the config file, `[NAME]` in the credentials file; `[default]` in both.
fn means(section: &str, name: &str, is_config: bool) -> bool {
    let with_prefix = section
        .strip_prefix("profile")
        .filter(|rest| rest.starts_with([' ', '\t']))
        .is_some_and(|rest| rest.trim() == name);
    if is_config {
        with_prefix || (section == "default" && name == "default")
    } else {
        section == name
    }
}

fn has_section(text: &str, name: &str, is_config: bool) -> bool {
    text.lines()
        .filter_map(section_name)
        .any(|section| means(section, name, is_config))
}
