//! How to add a resource to each client: the one table that the landing page and `vestibule dev` print from
//! (facts/deployment-and-operations.md §5.5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::settings::ResourceSettings;

/// What `encodeURIComponent` leaves alone.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// How one client learns of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The client's name.
    pub client: &'static str,
    /// What to do.
    pub how: How,
    /// What to type after that, to sign in; `None` when the client asks by itself.
    pub then: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// A command line, the same for every shell.
    Command(String),
    /// A piece of a configuration file.
    File {
        /// The file.
        path: &'static str,
        /// What to write there.
        text: String,
    },
    /// A link that opens the client.
    Link(String),
    /// The way through the client's menus to a field for the URL.
    Menu(&'static str),
}

/// Every client that is known, for the resource at `url`, to be called `name` there.
///
/// Both come from [`server_name`] and a checked URL: they hold nothing that a shell, a URL or JSON would take amiss.
pub fn snippets(name: &str, url: &str) -> Vec<Snippet> {
    let command = |client, command: String, then: Option<String>| Snippet {
        client,
        how: How::Command(command),
        then,
    };
    let file = |client, path, text: String| Snippet {
        client,
        how: How::File { path, text },
        then: None,
    };
    let named = json!({ "name": name, "type": "http", "url": url });
    let vs_code = utf8_percent_encode(&named.to_string(), COMPONENT).to_string();
    let cursor = STANDARD.encode(json!({ "url": url }).to_string());
    let cursor = utf8_percent_encode(&cursor, COMPONENT).to_string();
    vec![
        command(
            "Claude Code",
            format!("claude mcp add --transport http {name} {url}"),
            Some("/mcp".to_owned()),
        ),
        Snippet {
            client: "Claude, Claude Desktop",
            how: How::Menu("Settings → Connectors → Add custom connector"),
            then: None,
        },
        Snippet {
            client: "ChatGPT",
            how: How::Menu("Settings → Apps & Connectors → Create"),
            then: None,
        },
        command(
            "Codex",
            format!("codex mcp add {name} --url {url}"),
            Some(format!("codex mcp login {name}")),
        ),
        Snippet {
            client: "VS Code",
            how: How::Link(format!("vscode:mcp/install?{vs_code}")),
            then: None,
        },
        file(
            "VS Code (.vscode/mcp.json)",
            ".vscode/mcp.json",
            pretty(&json!({ "servers": { name: { "type": "http", "url": url } } })),
        ),
        Snippet {
            client: "Cursor",
            how: How::Link(format!(
                "cursor://anysphere.cursor-deeplink/mcp/install?name={name}&config={cursor}"
            )),
            then: None,
        },
        file(
            "Cursor (.cursor/mcp.json)",
            ".cursor/mcp.json",
            pretty(&json!({ "mcpServers": { name: { "url": url } } })),
        ),
        command(
            "Gemini CLI",
            format!("gemini mcp add --transport http {name} {url}"),
            Some(format!("/mcp auth {name}")),
        ),
        command("mcp-remote", format!("npx -y mcp-remote {url}"), None),
        file(
            "Others, which start a command",
            "mcp.json",
            pretty(
                &json!({ "mcpServers": { name: { "args": ["-y", "mcp-remote", url], "command": "npx" } } }),
            ),
        ),
    ]
}

/// What a client may call a resource: lower-case letters, digits and single hyphens of the resource's name, or of its URL.
pub fn server_name(resource: &ResourceSettings) -> String {
    let name = resource.name.as_deref().map(slug).unwrap_or_default();
    if !name.is_empty() {
        return name;
    }
    let url = resource.uri.as_str();
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    slug(rest.strip_suffix("/mcp").unwrap_or(rest))
}

fn slug(text: &str) -> String {
    let words = text
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    let cut = slug.get(..slug.len().min(40)).unwrap_or_default();
    cut.trim_end_matches('-').to_owned()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::url::{Endpoint, Origin};

    use super::*;

    const URL: &str = "https://mcp.example.com/mcp";

    fn of(client: &str) -> Snippet {
        snippets("tools", URL)
            .into_iter()
            .find(|snippet| snippet.client == client)
            .unwrap()
    }

    #[test]
    fn each_client_gets_the_form_it_reads() {
        assert_eq!(
            of("Claude Code").how,
            How::Command(
                "claude mcp add --transport http tools https://mcp.example.com/mcp".to_owned()
            )
        );
        assert_eq!(of("Codex").then.as_deref(), Some("codex mcp login tools"));
        assert_eq!(
            of("VS Code").how,
            How::Link(
                "vscode:mcp/install?%7B%22name%22%3A%22tools%22%2C%22type%22%3A%22http%22%2C%22url%22%3A%22https%3A%2F%2Fmcp.example.com%2Fmcp%22%7D"
                    .to_owned()
            )
        );
        // Base 64 of {"url":"https://mcp.example.com/mcp"}.
        assert_eq!(
            of("Cursor").how,
            How::Link(
                "cursor://anysphere.cursor-deeplink/mcp/install?name=tools&config=eyJ1cmwiOiJodHRwczovL21jcC5leGFtcGxlLmNvbS9tY3AifQ%3D%3D"
                    .to_owned()
            )
        );
    }

    #[test]
    fn every_file_is_json_with_the_url_in_it() {
        let mut files = 0;
        for snippet in snippets("tools", URL) {
            if let How::File { text, path } = snippet.how {
                let value: Value = serde_json::from_str(&text).unwrap();
                let servers = value.get("mcpServers").or_else(|| value.get("servers"));
                assert!(servers.unwrap()["tools"].is_object(), "{path}");
                assert!(text.contains(URL), "{path}");
                files += 1;
            }
        }
        assert_eq!(files, 3);
    }

    fn resource(name: Option<&str>, path: &str) -> ResourceSettings {
        let origin = Origin::parse("https://mcp.example.com:8443").unwrap();
        let upstream = Endpoint::parse("http://127.0.0.1:1/mcp").unwrap();
        ResourceSettings {
            name: name.map(str::to_owned),
            ..ResourceSettings::new(&origin, path, upstream).unwrap()
        }
    }

    #[test]
    fn a_name_with_shell_characters_becomes_a_plain_word() {
        for (name, path, expected) in [
            (Some("Demo"), "/mcp", "demo"),
            (Some("R&D; $(rm -rf ~) `x`"), "/mcp", "r-d-rm-rf-x"),
            (Some("社内ツール"), "/mcp", "mcp-example-com-8443"),
            (None, "/mcp", "mcp-example-com-8443"),
            (None, "/team/tools", "mcp-example-com-8443-team-tools"),
            (Some(""), "/mcp", "mcp-example-com-8443"),
        ] {
            assert_eq!(server_name(&resource(name, path)), expected);
        }
        let long = "word ".repeat(20);
        assert_eq!(server_name(&resource(Some(&long), "/mcp")).len(), 39);
    }
}
