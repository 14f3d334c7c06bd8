//! Providers, and scopes that are more than names: what may be written and what contradicts itself.

use super::*;

const COGNITO: &str = "issuer = \"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_A\"\nclient_id = \"c\"\n";

/// A configuration with these providers and this in the resource.
fn providers(providers: &str, resource: &str) -> Result<Settings, SettingsError> {
    read(&format!(
        "public_url = \"https://mcp.example.com\"\n{providers}\n{RESOURCE}{resource}\n{RING}"
    ))
}

#[test]
fn a_preset_brings_its_defaults() {
    let entra = "[provider]\nissuer = \"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0\"\nclient_id = \"c\"\n";
    let settings = providers(entra, "").unwrap();
    assert_eq!(settings.provider.preset.name, "entra");
    assert!(settings.provider.scopes.contains("offline_access"));
    let google = "[provider]\npreset = \"google\"\nclient_id = \"c\"\n[provider.authorize_params]\naccess_type = \"\"\nhd = \"example.com\"\n";
    let provider = providers(google, "").unwrap().provider;
    assert_eq!(provider.issuer.as_str(), "https://accounts.google.com");
    assert_eq!(
        provider.authorize_params,
        [("prompt", "consent"), ("hd", "example.com")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    let github = "[provider]\npreset = \"github\"\nclient_id = \"c\"\nclient_secret = \"s\"\n";
    let provider = providers(github, "").unwrap().provider;
    assert!(!provider.discovery && provider.endpoints.jwks.is_none());
    assert_eq!(
        provider.endpoints.userinfo.unwrap().as_str(),
        "https://api.github.com/user"
    );
}

#[test]
fn everybodys_tenant_is_refused() {
    for tenant in [
        "common",
        "organizations",
        "consumers",
        "contoso.onmicrosoft.com",
    ] {
        let text = format!(
            "[provider]\nissuer = \"https://login.microsoftonline.com/{tenant}/v2.0\"\nclient_id = \"c\"\n"
        );
        refused(
            providers(&text, ""),
            &["provider.issuer", "one tenant by its id"],
        );
    }
}

#[test]
fn a_provider_without_discovery_has_every_endpoint() {
    let text = "[provider]\nissuer = \"https://id.example\"\nclient_id = \"c\"\ndiscovery = false\ntoken_endpoint = \"https://id.example/t\"\n";
    refused(
        providers(text, ""),
        &[
            "vestibule.toml:5:1: provider.discovery",
            "`authorization_endpoint`, `jwks_uri` must be set",
        ],
    );
    let whole = format!(
        "{text}authorization_endpoint = \"https://id.example/a\"\njwks_uri = \"https://id.example/k\"\n"
    );
    assert!(providers(&whole, "").is_ok());
    refused(
        providers(
            &whole.replace("https://id.example/k", "http://id.example/k"),
            "",
        ),
        &["provider.jwks_uri: must use https"],
    );
    let ghe = "[provider]\npreset = \"github\"\nissuer = \"https://ghe.example/login/oauth\"\nclient_id = \"c\"\nscopes = [\"openid\"]\n";
    refused(providers(ghe, ""), &["does not speak OpenID Connect"]);
}

#[test]
fn parameters_are_listed_and_none_is_ours() {
    let with = |line: &str| providers(&format!("[provider]\n{COGNITO}{line}\n"), "");
    let settings =
        with("pass_through = [\"login_hint\", \"identity_provider\", \"lang\"]").unwrap();
    assert_eq!(settings.provider.pass_through.len(), 3);
    for ours in [
        "redirect_uri",
        "state",
        "scope",
        "resource",
        "request_uri",
        "client_id",
    ] {
        refused(
            with(&format!("pass_through = [\"{ours}\"]")),
            &["provider.pass_through[0]", ours],
        );
        refused(
            with(&format!("authorize_params = {{ {ours} = \"x\" }}")),
            &[&format!("provider.authorize_params.{ours}")],
        );
    }
    refused(
        with("authorize_params = { prompt = \"none\" }"),
        &["provider.authorize_params.prompt", "signed in already"],
    );
    refused(
        with("pass_through = [\"lang\"]\nauthorize_params = { lang = \"ja\" }"),
        &["is in `pass_through` too"],
    );
    refused(with("pass_trough = []"), &["did you mean `pass_through`"]);
    refused(with("userinfo = \"allways\""), &["did you mean `always`"]);
}

#[test]
fn what_a_kind_of_provider_cannot_do_is_refused() {
    refused(
        providers(
            "[provider]\npreset = \"google\"\nclient_id = \"c\"\nscopes = [\"openid\", \"offline_access\"]\n",
            "",
        ),
        &["provider.scopes", "offline_access"],
    );
    let okta =
        "[provider]\nissuer = \"https://a.okta.com\"\nclient_id = \"c\"\nscopes = [\"openid\"]\n";
    let settings = providers(okta, "").unwrap();
    assert!(
        settings.warnings[0].contains("no refresh token"),
        "{:?}",
        settings.warnings
    );
    let entra = "[provider]\nissuer = \"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0\"\nclient_id = \"c\"\nresource = \"https://m.example/mcp\"\n";
    refused(providers(entra, ""), &["provider.resource"]);
}

#[test]
fn several_providers_are_told_apart() {
    let two = |first: &str, second: &str| {
        format!(
            "[[provider]]\n{first}{COGNITO}client_secret = \"s\"\n[[provider]]\n{second}preset = \"google\"\nclient_id = \"g\"\nclient_secret = \"s\"\n"
        )
    };
    let both = two("id = \"staff\"\n", "id = \"guests\"\n");
    let settings = providers(&both, "providers = [\"guests\", \"staff\"]").unwrap();
    let ids: Vec<_> = settings
        .providers_of(&settings.resources[0])
        .iter()
        .map(|provider| provider.id.clone())
        .collect();
    assert_eq!(ids, ["guests", "staff"]);
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    let claim = |provider: &ProviderSettings| {
        let claims = settings.claims_of(provider);
        let username = claims.iter().find(|claim| claim.name == "username");
        username.unwrap().from.clone()
    };
    assert_eq!(claim(&settings.provider), "cognito:username");
    assert_eq!(claim(&settings.further_providers[0]), "email");

    let settings = providers(&both, "").unwrap();
    assert_eq!(settings.providers_of(&settings.resources[0])[0].id, "staff");
    refused(
        providers(&two("id = \"staff\"\n", ""), ""),
        &["provider[1].id: missing"],
    );
    refused(
        providers(&two("id = \"a\"\n", "id = \"a\"\n"), ""),
        &["provider[1].id: provider[0].id has this id already"],
    );
    refused(
        providers(&two("id = \"a:b\"\n", "id = \"b\"\n"), ""),
        &["provider[0].id"],
    );
    refused(
        providers(&both, "provider = \"guest\""),
        &["resource[0].provider", "did you mean `guests`"],
    );
    refused(
        providers(&both, "provider = \"staff\"\nproviders = [\"guests\"]"),
        &["keep one"],
    );
    refused(
        providers(&both, "providers = [\"staff\", \"staff\"]"),
        &["named twice"],
    );
    refused(providers(&both, "providers = []"), &["names no provider"]);
    let public = providers(&both.replace("client_secret = \"s\"\n", ""), "").unwrap();
    assert_eq!(public.warnings.len(), 2, "{:?}", public.warnings);
}

#[test]
fn one_provider_and_a_list_of_one_are_the_same() {
    let list = providers(&format!("[[provider]]\n{COGNITO}"), "").unwrap();
    assert_eq!(list.provider.id, DEFAULT_PROVIDER);
    assert!(list.further_providers.is_empty());
    let text = format!(
        "public_url = \"https://mcp.example.com\"\n[[provider]]\n{COGNITO}{RESOURCE}{RING}"
    );
    let env = env([("VESTIBULE__PROVIDER__0__CLIENT_ID", "other")]);
    let settings = Settings::from_toml(&text, "f", &env).unwrap();
    assert_eq!(settings.provider.client_id, "other");
}

#[test]
fn scopes_may_be_described() {
    let resource = "scopes = [\"open\"]\n[[resource.scope]]\nname = \"read\"\ndescription = \"Read\"\ndescription_ja = \"読む\"\nprovider_scope = \"mcp/read\"\n[[resource.scope]]\nname = \"write\"\ngroups = [\"staff\"]\nimplies = [\"read\"]\n";
    let settings = providers(&format!("[provider]\n{COGNITO}"), resource).unwrap();
    let resource = &settings.resources[0];
    assert_eq!(resource.scopes.to_string(), "open read write");
    assert_eq!(resource.default_scopes.to_string(), "open read write");
    let write = ScopeSet::parse("write");
    assert_eq!(resource.with_implied(&write).to_string(), "write read");
    let all = resource.provider_scopes(&resource.scopes);
    assert_eq!(all.to_string(), "mcp/read");
}

#[test]
fn scopes_that_contradict_each_other_are_refused() {
    let provider = format!("[provider]\n{COGNITO}");
    let with = |scopes: &str| providers(&provider, scopes);
    refused(
        with("[[resource.scope]]\ndescription = \"x\""),
        &["resource[0].scope[0].name: missing"],
    );
    refused(
        with("[[resource.scope]]\nname = \"a b\""),
        &["resource[0].scope[0].name", "not a scope"],
    );
    refused(
        with("[[resource.scope]]\nname = \"a\"\n[[resource.scope]]\nname = \"a\""),
        &["`a` is described twice"],
    );
    refused(
        with(
            "[[resource.scope]]\nname = \"write\"\nimplies = [\"raed\"]\n[[resource.scope]]\nname = \"read\"",
        ),
        &["resource[0].scope[0].implies", "did you mean `read`"],
    );
    refused(
        with(
            "[[resource.scope]]\nname = \"a\"\nimplies = [\"b\"]\n[[resource.scope]]\nname = \"b\"\nimplies = [\"a\"]",
        ),
        &["`a` implies itself"],
    );
    refused(
        with("[[resource.scope]]\nname = \"a\"\ngroups = []"),
        &["names no group"],
    );
    refused(
        with("[[resource.scope]]\nname = \"a\"\ngroup = [\"x\"]"),
        &["did you mean `groups`"],
    );
    let google = "[provider]\npreset = \"google\"\nclient_id = \"c\"\n";
    refused(
        providers(google, "[[resource.scope]]\nname = \"a\"\ngroups = [\"x\"]"),
        &["no claim of the provider `default` is mapped to `groups`"],
    );
}

#[test]
fn the_path_of_the_sign_out_page_is_ours() {
    let text = format!(
        "public_url = \"https://m.example\"\n{PROVIDER}{RING}[[resource]]\npath = \"/logout\"\nupstream = \"http://127.0.0.1:9/\"\n"
    );
    refused(read(&text), &["resource[0].path", "Vestibule itself"]);
}
