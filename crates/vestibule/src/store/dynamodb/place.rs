//! `dynamodb://TABLE?region=…`: which table, and where.

/// A table of DynamoDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamoDbPlace {
    /// Its name.
    pub table: String,
    /// The region, when it is not that of the environment.
    pub region: Option<String>,
    /// Another endpoint, such as one for tests.
    pub endpoint: Option<String>,
    /// Whether a missing table is made.
    pub create: bool,
}

impl DynamoDbPlace {
    /// Reads `dynamodb://TABLE[?region=…&endpoint=…&create=true]`.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("dynamodb://")
            .ok_or("must begin with `dynamodb://`")?;
        let (table, query) = rest.split_once('?').unwrap_or((rest, ""));
        let table = table.trim_end_matches('/');
        // Naming rules of Amazon DynamoDB.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if !(3..=255).contains(&table.len()) || !table.bytes().all(allowed) {
            return Err(format!(
                "'{table}' is not the name of a table: 3 to 255 of a-z, A-Z, 0-9, `_`, `-` and `.`"
            ));
        }
        let mut place = Self {
            table: table.to_owned(),
            region: None,
            endpoint: None,
            create: false,
        };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (name.as_ref(), value.as_ref()) {
                ("region", region) if !region.is_empty() => place.region = Some(region.to_owned()),
                ("endpoint", endpoint) if !endpoint.is_empty() => {
                    place.endpoint = Some(endpoint.to_owned());
                }
                ("create", "true") => place.create = true,
                ("create", "false") => place.create = false,
                _ => {
                    return Err(format!(
                        "`{name}={value}` is not known behind `?`; known are `region`, `endpoint` and `create=true`"
                    ));
                }
            }
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_table_and_more() {
        let place = DynamoDbPlace::parse("dynamodb://vestibule").unwrap();
        assert_eq!((place.table.as_str(), place.create), ("vestibule", false));
        let place = DynamoDbPlace::parse(
            "dynamodb://My.Table-1?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1:4566&create=true",
        )
        .unwrap();
        assert_eq!(place.region.as_deref(), Some("eu-west-1"));
        assert_eq!(place.endpoint.as_deref(), Some("http://127.0.0.1:4566"));
        assert!(place.create);
    }

    #[test]
    fn mistakes_are_named() {
        for (url, why) in [
            ("dynamo://x", "must begin"),
            ("dynamodb://", "not the name of a table"),
            ("dynamodb://a/b?region=x", "not the name of a table"),
            ("dynamodb://vestibule?regoin=x", "`regoin=x` is not known"),
            (
                "dynamodb://vestibule?create=yes",
                "`create=yes` is not known",
            ),
        ] {
            let error = DynamoDbPlace::parse(url).unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
        }
    }
}
