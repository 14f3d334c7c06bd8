//! `[store]`: which store when nobody says, and which ones are refused where.

use super::*;

fn on<const N: usize>(text: &str, variables: [(&str, &str); N]) -> Result<Settings, SettingsError> {
    let text =
        format!("public_url = \"https://mcp.example.com\"\n{PROVIDER}{RESOURCE}{RING}{text}");
    Settings::from_toml(&text, "/etc/vestibule/vestibule.toml", &env(variables))
}

fn place<const N: usize>(text: &str, variables: [(&str, &str); N]) -> StorePlace {
    on(text, variables).unwrap().store.place
}

#[test]
fn by_default_it_is_a_file_that_lasts() {
    let beside = StorePlace::Redb(PathBuf::from("/etc/vestibule/vestibule.redb"));
    assert_eq!(place("", []), beside);
    let state = ("STATE_DIRECTORY", "/var/lib/vestibule:/var/lib/other");
    let there = StorePlace::Redb(PathBuf::from("/var/lib/vestibule/vestibule.redb"));
    assert_eq!(place("", [state]), there);
    assert!(!on("", []).unwrap().store.chosen);
}

#[test]
fn where_no_file_lasts_nobody_gets_one_unasked() {
    for variable in [
        "AWS_LAMBDA_FUNCTION_NAME",
        "K_SERVICE",
        "KUBERNETES_SERVICE_HOST",
    ] {
        assert_eq!(place("", [(variable, "x")]), StorePlace::Carried);
        assert_eq!(
            place("[store]\nurl = \"none\"", [(variable, "x")]),
            StorePlace::Carried
        );
        for url in ["redb:/data/v.redb", "memory"] {
            let text = format!("[store]\nurl = \"{url}\"");
            let error = on(&text, [(variable, "x")]);
            refused(
                error,
                &[
                    "vestibule.toml:11:1: store.url",
                    "replaces this instance",
                    "allow_ephemeral",
                ],
            );
            let allowed = format!("{text}\nallow_ephemeral = true");
            assert_ne!(place(&allowed, [(variable, "x")]), StorePlace::Carried);
        }
    }
}

#[test]
fn the_url_says_which() {
    let with = |url: &str| place(&format!("[store]\nurl = \"{url}\""), []);
    let file = |path: &str| StorePlace::Redb(PathBuf::from(path));
    assert_eq!(with("none"), StorePlace::Carried);
    assert_eq!(with("memory"), StorePlace::Memory);
    assert_eq!(
        with("redb:state/v.redb"),
        file("/etc/vestibule/state/v.redb")
    );
    assert_eq!(with("redb:/var/v.redb"), file("/var/v.redb"));
    // In a variable: relative to the working directory.
    let variable = place("", [("VESTIBULE__STORE__URL", "redb:v.redb")]);
    assert_eq!(variable, file("v.redb"));
    for (url, says) in [
        ("redb:", "names no file"),
        ("mysql://h/d", "is no store"),
        ("vestibule.redb", "is no store"),
        ("None", "is no store"),
    ] {
        refused(
            on(&format!("[store]\nurl = \"{url}\""), []),
            &["store.url", says],
        );
    }
    refused(
        on("[store]\nurl = \"none\"\nurl_file = \"x\"", []),
        &["both `url` and `url_file`"],
    );
    refused(on("[store]\nulr = \"none\"", []), &["did you mean `url`?"]);
}

#[test]
#[cfg(all(feature = "redis", feature = "postgres"))]
fn a_password_is_never_shown() {
    let directory = TestDirectory::new("store-url");
    for url in [
        "rediss://u:open-sesame@h:6379/0",
        "postgres://u:open-sesame@h/d",
    ] {
        let file = directory.write("url", url);
        let text = format!("[store]\nurl_file = \"{}\"", file.display());
        let settings = on(&text, []).unwrap();
        assert!(!format!("{settings:?}").contains("sesame"));
    }
    let clear = on("[store]\nurl = \"redis://:open-sesame@redis.internal\"", []).unwrap();
    assert!(
        clear
            .warnings
            .iter()
            .any(|warning| warning.contains("rediss://"))
    );
    for wrong in [
        "redis://u:open-sesame@",
        "mysql://u:open-sesame@h/d",
        "dynamodb:open-sesame",
    ] {
        let error = on(&format!("[store]\nurl = \"{wrong}\""), []).unwrap_err();
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
}

#[test]
#[cfg(not(feature = "redis"))]
fn a_store_that_was_not_built_in_says_how_to_get_it() {
    let error = on("[store]\nurl = \"redis://h\"", []);
    refused(error, &["knows no Redis", "--features redis"]);
}
