//! Service Bus connection strings: `Endpoint=sb://…;SharedAccessSignature=…;EntityPath=…`.

use std::time::Duration;

use url::Url;

use super::sas::{self, ServiceBusSas};
use super::{AccessError, ServiceBusAccess};
use crate::clock::UnixMs;
use crate::error::Class;
use crate::net::is_loopback;
use crate::secret::Secret;

/// How long a token lives that we sign ourselves; the official SDKs use the same hour.
const SIGNED_LIFETIME: Duration = Duration::from_secs(3_600);

/// What stands between a topic and its subscription in an entity path, in any case.
const SUBSCRIPTIONS: &str = "/subscriptions/";

/// A connection string, understood.
#[derive(Clone, Debug)]
pub struct ConnectionString {
    host: String,
    port: Option<u16>,
    development_emulator: bool,
    entity_path: Option<String>,
    credential: Credential,
}

#[derive(Clone, Debug)]
enum Credential {
    Token(ServiceBusSas),
    Key { name: String, key: Secret },
}

fn wrong(what: impl AsRef<str>) -> AccessError {
    AccessError::new(Class::Permanent, format!("the Service Bus connection string cannot be used: {}", what.as_ref()))
}

impl ConnectionString {
    /// Reads a connection string. Keys are case-insensitive and unknown ones are passed over. The endpoint is `sb://`
    /// or `amqps://`; `UseDevelopmentEmulator=true` (in lower case, as the official SDKs want it) means plain AMQP and
    /// is taken for a loopback host only.
    ///
    /// # Errors
    /// What is missing or contradictory, without a secret.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        let mut endpoint = None;
        let mut token = None;
        let mut key_name = None;
        let mut key = None;
        let mut entity_path = None;
        let mut development_emulator = false;
        for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| wrong("a part of it is not `name=value`"))?;
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "endpoint" => endpoint = Some(value),
                "sharedaccesssignature" => token = Some(value),
                "sharedaccesskeyname" => key_name = Some(value),
                "sharedaccesskey" => key = Some(value),
                "entitypath" => entity_path = Some(value.trim_matches('/')).filter(|path| !path.is_empty()),
                "usedevelopmentemulator" => {
                    development_emulator = match value {
                        "true" => true,
                        "false" => false,
                        _ => return Err(wrong("UseDevelopmentEmulator is neither `true` nor `false`")),
                    }
                }
                _ => {}
            }
        }
        let (host, port, plain) = read_endpoint(endpoint.ok_or_else(|| wrong("it has no Endpoint"))?)?;
        if plain && !development_emulator {
            return Err(wrong("a plain amqp:// endpoint needs UseDevelopmentEmulator=true"));
        }
        if development_emulator && !is_loopback(&host) {
            return Err(wrong(format!(
                "UseDevelopmentEmulator=true means an unencrypted connection, which is made to a loopback host only, not to {host}"
            )));
        }
        // Where a `;` is missing, the token stands in the name before it, and names are shown.
        if !is_name(&host) || !entity_path.is_none_or(is_name) {
            return Err(wrong("its Endpoint or its EntityPath has a character in it that no name has"));
        }
        let credential = match (token, key_name, key) {
            (Some(token), _, _) => Credential::Token(sas::read_service_bus(token).map_err(wrong)?),
            (None, Some(name), Some(key)) => Credential::Key { name: name.to_owned(), key: Secret::new(key) },
            _ => {
                return Err(wrong(
                    "it has neither SharedAccessSignature nor both SharedAccessKeyName and SharedAccessKey",
                ));
            }
        };
        Ok(Self { host, port, development_emulator, entity_path: entity_path.map(str::to_owned), credential })
    }

    /// How to hear from `subscription`, or from the one in the entity path where none is given. A key signs a token
    /// that is good for an hour from `now`.
    ///
    /// # Errors
    /// When the topic or the subscription is named nowhere.
    pub fn access(&self, subscription: Option<&str>, now: UnixMs) -> Result<ServiceBusAccess, AccessError> {
        let path =
            self.entity_path.as_deref().ok_or_else(|| wrong("it has no EntityPath, so the topic is not known"))?;
        let (topic, in_path) = match path.to_ascii_lowercase().find(SUBSCRIPTIONS) {
            Some(at) => (&path[..at], Some(&path[at + SUBSCRIPTIONS.len()..])),
            None => (path, None),
        };
        let subscription = subscription
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .or(in_path)
            .ok_or_else(|| wrong(format!("no subscription of the topic {topic} is named")))?;
        let sas = match &self.credential {
            Credential::Token(sas) => sas.clone(),
            Credential::Key { name, key } => {
                let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
                let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
                let audience = format!("sb://{host}{port}/{topic}/Subscriptions/{subscription}");
                sas::sign_service_bus(&audience, name, key, now, SIGNED_LIFETIME)
            }
        };
        Ok(ServiceBusAccess {
            host: self.host.clone(),
            port: self.port,
            development_emulator: self.development_emulator,
            topic: topic.to_owned(),
            subscription: subscription.to_owned(),
            sas: sas.token,
            audience: sas.audience,
            expires: sas.expires,
        })
    }
}

/// Whether `text` can name a host, or a topic and its subscription.
fn is_name(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || c.is_whitespace() || "&=?#%,\"'".contains(c))
}

/// Host (an IPv6 address without brackets, a name in lower case), port, and whether the scheme is plain.
fn read_endpoint(text: &str) -> Result<(String, Option<u16>, bool), AccessError> {
    let url = Url::parse(text).map_err(|_| wrong("its Endpoint is not a URL such as sb://namespace.example"))?;
    let plain = match url.scheme() {
        "sb" | "amqps" => false,
        "amqp" => true,
        _ => return Err(wrong("its Endpoint starts neither with sb:// nor with amqps://")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("its Endpoint carries a user name"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("its Endpoint names no host"))?;
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    Ok((bare.to_ascii_lowercase(), url.port(), plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "SharedAccessSignature sr=sb%3a%2f%2fns.example%2ft&sig=ab%2Bc%3D&se=1700000000&skn=k";
    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn access(text: &str, subscription: Option<&str>) -> Result<ServiceBusAccess, AccessError> {
        ConnectionString::parse(text)?.access(subscription, NOW)
    }

    #[test]
    fn the_vendors_new_form_names_topic_and_subscription_in_its_entity_path() {
        let text = format!(
            "Endpoint=sb://NS.example/;SharedAccessSignature={TOKEN};EntityPath=/export/Subscriptions/mine/;TransportType=Amqp"
        );
        let access = access(&text, None).expect("a good connection string");
        assert_eq!((access.host.as_str(), access.port), ("ns.example", None));
        assert_eq!((access.topic.as_str(), access.subscription.as_str()), ("export", "mine"));
        assert_eq!(access.sas.expose(), TOKEN);
        assert_eq!(access.audience, "sb://ns.example/t");
        assert!(!access.development_emulator);
    }

    #[test]
    fn the_old_form_names_the_topic_alone() {
        let text = format!("endpoint=sb://ns.example;sharedaccesssignature={TOKEN};entitypath=export");
        let access = access(&text, Some("mine")).expect("a good connection string");
        assert_eq!((access.topic.as_str(), access.subscription.as_str()), ("export", "mine"));
    }

    #[test]
    fn a_key_signs_a_token_for_the_subscription() {
        let text = "Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=Root;SharedAccessKey=a=b=;UseDevelopmentEmulator=true;EntityPath=t";
        let access = access(text, Some("s")).expect("a good connection string");
        assert_eq!(access.audience, "sb://127.0.0.1:5672/t/Subscriptions/s");
        assert_eq!(access.expires, Some(NOW.plus(SIGNED_LIFETIME)));
        assert_eq!(access.port, Some(5672));
        assert!(access.development_emulator);
    }

    #[test]
    fn plain_connections_go_to_loopback_only() {
        let with = |endpoint: &str, emulator: &str| {
            ConnectionString::parse(&format!(
                "Endpoint={endpoint};SharedAccessSignature={TOKEN};EntityPath=t;UseDevelopmentEmulator={emulator}"
            ))
        };
        assert!(with("sb://localhost:5672", "true").is_ok());
        assert!(with("sb://[::1]:5672", "true").is_ok());
        assert!(with("amqp://127.0.0.1", "true").is_ok());
        assert!(with("amqp://127.0.0.1", "false").is_err());
        assert!(with("sb://ns.example", "true").is_err());
        assert!(with("sb://127.0.0.1.ns.example", "true").is_err());
        assert!(with("sb://localhost", "True").is_err());
        assert!(with("http://localhost", "true").is_err());
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_is_shown() {
        for text in [
            String::new(),
            "Endpoint=sb://h;EntityPath=t".to_owned(),
            format!("SharedAccessSignature={TOKEN}"),
            format!("Endpoint=sb://h;SharedAccessSignature={TOKEN}"),
            format!("Endpoint=sb://h;SharedAccessSignature={TOKEN};EntityPath=t"),
            "Endpoint=sb://h;SharedAccessKeyName=n;EntityPath=t".to_owned(),
            "Endpoint=sb://u:ab%2Bc@h;SharedAccessKey=k;EntityPath=t".to_owned(),
            "ab%2Bc".to_owned(),
            // A `;` is missing.
            format!("Endpoint=sb://h;SharedAccessSignature={TOKEN};EntityPath=t,{TOKEN}"),
            format!("Endpoint=sb://hSharedAccessKey=ab%2Bc;SharedAccessSignature={TOKEN};EntityPath=t/Subscriptions/s"),
        ] {
            let said = access(&text, None).expect_err("not usable").to_string();
            assert!(said.starts_with("the Service Bus connection string cannot be used: "), "{said}");
            assert!(!said.contains("ab%2Bc"), "{said}");
        }
    }
}
