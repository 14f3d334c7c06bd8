//! Documents that cannot lie: their configurations load, their commands parse, their links and names exist.

mod configuration;
mod conformance;
mod files;
mod schema;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use vestibule::pages::snippets::{How, Snippet, snippets};
use vestibule::settings::{NoEnvironment, SecretError, SecretReference, SecretSource, Settings};
use vestibule_oauth::secret::Secret;

use configuration::{completed, known_keys};
use files::{blocks, documents, in_backticks, slug, tests};
pub(crate) use files::{read, root};

/// A directory for one test, removed afterwards.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("vestibule-docs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn vestibule(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments).current_dir(&self.0).env_clear();
        command.output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Has every secret that a document refers to.
#[derive(Debug)]
struct Vault;

#[async_trait::async_trait]
impl SecretSource for Vault {
    async fn fetch(&self, _: &SecretReference) -> Result<Secret, SecretError> {
        Ok(Secret::new("content-of-a-secret"))
    }
}

#[tokio::test]
async fn every_configuration_in_the_documents_is_accepted() {
    let place = Place::new("toml");
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        let mut all = blocks(&text, "toml");
        // What other builds refuse.
        if cfg!(feature = "aws") {
            all.extend(blocks(&text, "toml aws"));
        }
        if cfg!(feature = "cedar") {
            all.extend(blocks(&text, "toml cedar"));
        }
        for block in all {
            let text = completed(&block, &place.0);
            let name = place.0.join("vestibule.toml");
            std::fs::write(&name, text).unwrap();
            let settings = Settings::load_with(Some(&name), &NoEnvironment, &Vault).await;
            assert!(
                settings.is_ok(),
                "{}:\n{block}\n{}",
                document.display(),
                settings.unwrap_err()
            );
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} configurations were found");
}

#[test]
fn the_example_configuration_is_accepted_and_shows_the_defaults() {
    let place = Place::new("example");
    let text = read(&root().join("vestibule.example.toml"));
    let name = place.0.join("vestibule.toml");
    let load = |text: &str| {
        let text = completed(text, &place.0);
        Settings::from_toml(&text, &name.to_string_lossy(), &NoEnvironment).unwrap()
    };
    let mut example = load(&text);
    let mut bare = load(
        "[provider]\nissuer = \"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE\"\n",
    );
    for settings in [&mut example, &mut bare] {
        settings.tokens.claims.sort_by(|a, b| a.name.cmp(&b.name));
    }
    assert_eq!(example.server, bare.server);
    assert_eq!(example.tokens, bare.tokens);
    assert_eq!(example.log, bare.log);
    assert_eq!(example.limits, bare.limits);
    assert_eq!(
        example.clients.private_use_schemes,
        bare.clients.private_use_schemes
    );
    assert_eq!(example.clients.registration, bare.clients.registration);
    assert_eq!(example.provider.timeout, bare.provider.timeout);
    assert_eq!(example.resources[0].timeout, bare.resources[0].timeout);
    // A comment that is a setting is one that exists.
    let keys = known_keys();
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        let known = |path: &String| {
            path.rsplit('.').next() == Some(key) || path.contains(&format!(".{key}."))
        };
        assert!(keys.iter().any(known), "no setting is called `{key}`");
    }
}

#[test]
fn every_setting_is_in_the_document_with_its_variable_and_no_other() {
    let text = read(&root().join("docs/configuration.md"));
    let mut documented = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, key, variable, kind, default, meaning, _] = cells.as_slice() else {
            continue;
        };
        let key = key.trim_matches('`');
        let expected = key
            .replace("[]", ".0")
            .replace('.', "__")
            .to_ascii_uppercase();
        assert_eq!(*variable, format!("`VESTIBULE__{expected}`"));
        assert!(
            !kind.is_empty() && !default.is_empty() && meaning.ends_with('.'),
            "{key}"
        );
        assert!(documented.insert(key.to_owned()), "{key} is there twice");
    }
    assert_eq!(documented, known_keys());
}

#[test]
fn the_error_in_the_document_is_what_the_program_prints() {
    let text = read(&root().join("docs/configuration.md"));
    let place = Place::new("wrong");
    let wrong = blocks(&text, "toml wrong");
    std::fs::write(place.0.join("vestibule.toml"), wrong.concat()).unwrap();
    let output = place.vestibule(&["serve", "--config", "vestibule.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        blocks(&text, "text").contains(&printed),
        "the document does not have this:\n{printed}"
    );
}

#[test]
fn every_command_in_the_documents_parses() {
    let place = Place::new("sh");
    let mut count = 0;
    for document in documents() {
        for line in blocks(&read(&document), "sh")
            .iter()
            .flat_map(|block| block.lines())
        {
            let line = line.split(" #").next().unwrap_or_default().trim();
            let arguments = line
                .strip_prefix("cargo run --release -- ")
                .or_else(|| line.strip_prefix("vestibule "));
            let Some(arguments) = arguments else {
                continue;
            };
            // With `--help` behind them, arguments are parsed and nothing is done.
            let arguments: Vec<&str> = arguments.split_whitespace().chain(["--help"]).collect();
            let output = place.vestibule(&arguments);
            assert!(
                output.status.success(),
                "{}: {line}\n{}",
                document.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            count += 1;
        }
    }
    assert!(count >= 4, "only {count} commands were found");
    assert!(
        !place
            .vestibule(&["serve", "--confg", "x", "--help"])
            .status
            .success()
    );
}

/// The table of clients in the document is the one that the landing page and `vestibule dev` show.
#[test]
fn the_table_of_clients_is_the_one_of_the_landing_page() {
    let row = |snippet: Snippet| {
        let how = match snippet.how {
            How::Command(command) => format!("`{command}`"),
            How::File { path, text } => {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                format!("`{path}`: `{value}`")
            }
            How::Link(_) => "the button on the landing page".to_owned(),
            How::Menu(way) => way.to_owned(),
        };
        let then = snippet.then.map(|then| format!(", then `{then}`"));
        format!(
            "| {} | {how}{} |\n",
            snippet.client,
            then.unwrap_or_default()
        )
    };
    let rows: String = snippets("tools", "https://mcp.example.com/mcp")
        .into_iter()
        .map(row)
        .collect();
    let document = read(&root().join("docs/clients.md"));
    assert!(
        document.contains(&format!("|---|---|\n{rows}\n")),
        "docs/clients.md needs this table:\n{rows}"
    );
}

/// What people copy is what `tests/proxies/run.sh` has run.
#[test]
fn the_document_prints_the_sample_configurations_of_proxies_as_they_are() {
    let document = read(&root().join("docs/deployment.md"));
    let mut count = 0;
    for proxy in ["nginx", "caddy", "envoy", "traefik", "haproxy"] {
        let directory = root().join("deploy").join(proxy);
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let heading = format!("`deploy/{proxy}/{name}`:\n\n```");
            let printed = document.split(&heading).nth(1);
            let printed = printed.unwrap_or_else(|| panic!("there is no {heading}"));
            let (_, printed) = printed.split_once('\n').unwrap();
            assert!(
                printed.starts_with(&format!("{}```\n", read(&path))),
                "deploy/{proxy}/{name} is another one than docs/deployment.md prints"
            );
            count += 1;
        }
    }
    assert_eq!(count, 10);
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap_or(Path::new("")).join(path),
            };
            assert!(target.exists(), "{}: {link}", document.display());
            if !anchor.is_empty() {
                let headings = read(&target);
                let found = headings
                    .lines()
                    .any(|line| line.starts_with('#') && slug(line) == anchor);
                assert!(found, "{}: {link}", document.display());
            }
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} links were found");
}

#[test]
fn every_source_file_that_is_named_exists() {
    let mut count = 0;
    for document in documents() {
        for name in in_backticks(&read(&document)) {
            let is_source = Path::new(&name).extension() == Some("rs".as_ref())
                || (name.starts_with("crates/") && !name.contains(char::is_whitespace));
            if !is_source || name.contains(['*', '{', '<']) {
                continue;
            }
            // In the documents a short name is relative to the house's sources.
            let exists = root().join(&name).exists()
                || root().join("crates/vestibule/src").join(&name).exists();
            assert!(exists, "{}: `{name}`", document.display());
            count += 1;
        }
    }
    assert!(count >= 40, "only {count} names were found");
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let tests = tests();
    let mut count = 0;
    for row in read(&root().join("SECURITY.md")).lines() {
        // The table of attacks: number, attack, defence, files, tests.
        let cells: Vec<&str> = row.split('|').collect();
        let ["", _, _, _, _, named, ""] = cells.as_slice() else {
            continue;
        };
        for name in in_backticks(named) {
            assert!(
                tests.contains(&name),
                "SECURITY.md names the test `{name}`, which is nowhere"
            );
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} tests were found");
}

#[test]
fn everything_that_is_said_of_clients_is_shown_by_something_that_exists() {
    let tests = tests();
    let document = read(&root().join("docs/clients.md"));
    let (_, table) = document
        .split_once("| shown by |\n|---|---|---|\n")
        .unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut count = 0;
    for row in table.lines() {
        let names = in_backticks(row.rsplit('|').nth(1).unwrap());
        assert!(!names.is_empty(), "nothing shows: {row}");
        for name in names {
            let exists = tests.contains(&name) || root().join(&name).is_file();
            assert!(exists, "docs/clients.md names `{name}`, which is nowhere");
            count += 1;
        }
    }
    assert!(count >= 35, "only {count} names were found");
}
