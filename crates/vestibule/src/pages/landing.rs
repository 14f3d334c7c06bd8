//! `GET /` for people, and the same help for a browser that opens the URL of a resource: how to add it to a client.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::VARY;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::snippets::{How, Snippet, server_name, snippets};
use super::texts::Texts;
use super::{STYLE, Wanted, is_browser, write_html};
use crate::House;
use crate::authorization_server::not_found;
use crate::settings::{ResourceSettings, Settings};

/// The landing page. Only for browsers: a client that takes the origin for the MCP endpoint must not see a 200.
pub async fn landing(State(house): State<Arc<House>>, request: Request) -> Response {
    let shown = house.settings().pages.landing;
    if !shown || !is_browser(request.method(), request.headers()) {
        return not_found(request.uri().path());
    }
    let settings = house.settings();
    let mut response = Response::default();
    write(
        &mut response,
        settings,
        &settings.resources,
        request.headers(),
        false,
    );
    response
}

/// Puts the help for one resource into our 401. Status and challenge stay.
pub fn explain(
    response: &mut Response,
    settings: &Settings,
    resource: &ResourceSettings,
    request: &HeaderMap,
) {
    if settings.pages.landing && response.status() == StatusCode::UNAUTHORIZED {
        write(
            response,
            settings,
            std::slice::from_ref(resource),
            request,
            true,
        );
    }
}

fn write(
    response: &mut Response,
    settings: &Settings,
    resources: &[ResourceSettings],
    request: &HeaderMap,
    challenged: bool,
) {
    let origin = settings.public_url.as_str();
    let page = Landing {
        style: STYLE,
        t: Wanted::of(request).texts,
        challenged,
        host: origin.split_once("://").map_or(origin, |(_, host)| host),
        servers: resources.iter().map(Server::new).collect(),
    };
    write_html(response, &page);
    let vary = HeaderValue::from_static("Accept, Accept-Language");
    response.headers_mut().append(VARY, vary);
}

#[derive(Template)]
#[template(path = "landing.html")]
struct Landing<'a> {
    style: &'static str,
    t: &'static Texts,
    challenged: bool,
    host: &'a str,
    servers: Vec<Server<'a>>,
}

struct Server<'a> {
    title: &'a str,
    url: &'a str,
    documentation: Option<&'a str>,
    snippets: Vec<Snippet>,
}

impl<'a> Server<'a> {
    fn new(resource: &'a ResourceSettings) -> Self {
        let url = resource.uri.as_str();
        Self {
            title: resource.name.as_deref().unwrap_or(&resource.path),
            url,
            documentation: resource.documentation.as_deref(),
            snippets: snippets(&server_name(resource), url),
        }
    }
}
