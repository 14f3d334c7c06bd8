//! The HTML a browser sees: the login form, the error page, a firewall's refusal. Everything reflected is escaped.

use std::fmt::Write as _;

/// The sign-in form. `action` is where it posts to, `csrf` the value the cookie must repeat.
pub(crate) fn login(action: &str, csrf: &str, error: Option<&str>) -> String {
    let mut alert = String::new();
    if let Some(error) = error {
        // Writing to a String cannot fail.
        let _ = writeln!(alert, "<p role=\"alert\">{}</p>", escape(error));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Sign in</title></head>\n\
         <body>\n<h1>Sign in</h1>\n<p>This is a stand-in for Amazon Cognito.</p>\n{alert}\
         <form name=\"cognitoSignInForm\" method=\"post\" action=\"{action}\">\n\
         <input type=\"hidden\" name=\"_csrf\" value=\"{csrf}\">\n\
         <label>Username <input type=\"text\" name=\"username\" autocomplete=\"username\" required autofocus></label>\n\
         <label>Password <input type=\"password\" name=\"password\" autocomplete=\"current-password\" required></label>\n\
         <button type=\"submit\" name=\"signInSubmitButton\" value=\"Sign in\">Sign in</button>\n\
         </form>\n</body>\n</html>\n",
        action = escape(action),
        csrf = escape(csrf),
    )
}

/// The page behind `/error` and every refusal that may not go to a callback (§2.3).
pub(crate) fn error(reason: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Login pages unavailable</title></head>\n\
         <body>\n<h1>An error was encountered with the requested page.</h1>\n<p>{}</p>\n</body>\n</html>\n",
        escape(reason)
    )
}

/// What a firewall in front of the domain says.
pub(crate) fn firewall() -> String {
    "<html>\n<head><title>403 Forbidden</title></head>\n<body>\n<center><h1>403 Forbidden</h1></center>\n</body>\n</html>\n"
        .to_owned()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_reflected_text_stays_text() {
        let page = login("/login?a=\"><script>", "x", Some("<b>'&'</b>"));
        assert!(!page.contains("<script>"));
        assert!(!page.contains("<b>"));
        assert!(error("<script>").contains("&lt;script&gt;"));
    }
}
