//! Where a service answers in a region, and what its protocol is called there.

use http::Uri;

use super::environment::AwsEnvironment;

/// A service that speaks AWS JSON 1.0 or 1.1 (Smithy, `awsJson1_0` and `awsJson1_1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name in signatures and in host names.
    pub name: &'static str,
    /// What stands before the operation in `X-Amz-Target`.
    pub target: &'static str,
    /// `1.0` or `1.1`.
    pub json: &'static str,
    /// What stands behind `AWS_ENDPOINT_URL_`.
    pub variable: &'static str,
}

/// Amazon DynamoDB.
pub const DYNAMODB: Service = Service {
    name: "dynamodb",
    target: "DynamoDB_20120810",
    json: "1.0",
    variable: "DYNAMODB",
};

/// AWS Secrets Manager.
pub const SECRETS_MANAGER: Service = Service {
    name: "secretsmanager",
    target: "secretsmanager",
    json: "1.1",
    variable: "SECRETS_MANAGER",
};

/// AWS Systems Manager, for its Parameter Store.
pub const SSM: Service = Service {
    name: "ssm",
    target: "AmazonSSM",
    json: "1.1",
    variable: "SSM",
};

/// The URL of a service: `endpoint`, `AWS_ENDPOINT_URL_…`, `AWS_ENDPOINT_URL`, or the public one of the region.
pub(super) fn url(
    service: Service,
    region: &str,
    endpoint: Option<&str>,
    environment: &AwsEnvironment,
) -> Result<Uri, String> {
    match endpoint.or_else(|| overridden(service.variable, environment)) {
        Some(url) => parse(url),
        None => parse(&format!(
            "https://{}",
            host(service.name, region, environment)?
        )),
    }
}

/// What the environment says instead of the public endpoint.
pub(super) fn overridden<'a>(variable: &str, environment: &'a AwsEnvironment) -> Option<&'a str> {
    environment
        .get(&format!("AWS_ENDPOINT_URL_{variable}"))
        .or_else(|| environment.get("AWS_ENDPOINT_URL"))
}

/// `SERVICE.REGION.amazonaws.com` and what it is in the other partitions.
pub(super) fn host(
    service: &str,
    region: &str,
    environment: &AwsEnvironment,
) -> Result<String, String> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !is_name(region) {
        return Err(format!("'{region}' is not an AWS region"));
    }
    let fips = if environment.flag("AWS_USE_FIPS_ENDPOINT") {
        "-fips"
    } else {
        ""
    };
    // Longest first: `us-isob-east-1` begins with `us-iso` as well.
    let partitions = [
        ("cn-", "amazonaws.com.cn"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-iso-", "c2s.ic.gov"),
        ("eusc-", "amazonaws.eu"),
    ];
    let partition = partitions
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix));
    let suffix = partition.map_or("amazonaws.com", |(_, suffix)| suffix);
    Ok(format!("{service}{fips}.{region}.{suffix}"))
}

/// An absolute http or https URL without a path of its own.
pub(super) fn parse(url: &str) -> Result<Uri, String> {
    let wrong =
        || format!("'{url}' is not the URL of an AWS endpoint; write http(s)://HOST[:PORT]");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    if !known || uri.host().is_none() || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong());
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> AwsEnvironment {
        let map: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        AwsEnvironment::read(&map)
    }

    #[test]
    fn the_most_special_endpoint_wins() {
        let both = environment(&[
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:2"),
        ]);
        let url = |service, endpoint| url(service, "eu-west-1", endpoint, &both).unwrap();
        assert_eq!(
            url(SECRETS_MANAGER, Some("http://127.0.0.1:3")),
            "http://127.0.0.1:3/"
        );
        assert_eq!(url(SECRETS_MANAGER, None), "http://127.0.0.1:2/");
        assert_eq!(url(SSM, None), "http://127.0.0.1:1/");
    }

    #[test]
    fn partitions_have_their_own_names() {
        let none = environment(&[]);
        for (region, host) in [
            ("eu-west-1", "https://dynamodb.eu-west-1.amazonaws.com/"),
            (
                "cn-north-1",
                "https://dynamodb.cn-north-1.amazonaws.com.cn/",
            ),
            (
                "us-gov-west-1",
                "https://dynamodb.us-gov-west-1.amazonaws.com/",
            ),
            (
                "us-isob-east-1",
                "https://dynamodb.us-isob-east-1.sc2s.sgov.gov/",
            ),
        ] {
            assert_eq!(url(DYNAMODB, region, None, &none).unwrap(), host);
        }
        let fips = environment(&[("AWS_USE_FIPS_ENDPOINT", "true")]);
        let url = url(SSM, "us-east-1", None, &fips).unwrap();
        assert_eq!(url, "https://ssm-fips.us-east-1.amazonaws.com/");
    }

    #[test]
    fn a_region_cannot_smuggle_another_host_in() {
        let none = environment(&[]);
        for region in ["", "evil.example/", "x.evil", "eu-west-1@evil", "EU"] {
            assert!(url(SSM, region, None, &none).is_err(), "{region}");
        }
        for endpoint in ["ftp://x", "x", "https://x/path", "https://x/?q"] {
            assert!(
                url(SSM, "eu-west-1", Some(endpoint), &none).is_err(),
                "{endpoint}"
            );
        }
    }
}
