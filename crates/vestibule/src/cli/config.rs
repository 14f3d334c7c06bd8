//! `vestibule config`: the JSON Schema of the configuration, and where every value came from.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::serve::{config_file, load};
use super::{Failure, print};
use crate::settings::{InForce, Strings, schema};

/// Options of `vestibule config`.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Print every setting in force and where its value came from. Secrets are not shown.
    Explain {
        /// Only this setting, with its description: `tokens.access_ttl`, `resource[0].path`, `resource.path`.
        key: Option<String>,
        /// The configuration file [default: as for `serve`].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print a JSON list.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &ConfigArgs, env: &dyn Strings) -> Result<(), Failure> {
    match &arguments.command {
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&schema()).map_err(Failure::runtime)?;
            print::line(&schema);
            Ok(())
        }
        ConfigCommand::Explain { key, config, json } => {
            let report = load(config_file(config.as_deref(), env).as_deref(), env)?;
            let settings = match key {
                Some(key) => report.explain(key).map_err(Failure::Usage)?,
                None => report.in_force(),
            };
            if *json {
                let text = serde_json::to_string_pretty(&settings).map_err(Failure::runtime)?;
                print::line(&text);
            } else {
                for setting in &settings {
                    print::text(&line(setting));
                    if key.is_some() {
                        print::text(&description(setting));
                    }
                }
            }
            report.outcome.map(drop).map_err(Failure::usage)
        }
    }
}

fn line(setting: &InForce) -> String {
    let value = match setting.value.as_str() {
        _ if setting.value.is_null() => "-".to_owned(),
        Some("(set)") => "(set)".to_owned(),
        _ => setting.value.to_string(),
    };
    format!("{} = {value}  # {}\n", setting.key, setting.origin)
}

fn description(setting: &InForce) -> String {
    format!(
        "  {}\n  type: {}; default: {}; variable: {}\n",
        setting.meaning, setting.kind, setting.default, setting.variable
    )
}
