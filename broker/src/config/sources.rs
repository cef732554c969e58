//! Which sources of users a listener has, and who may connect through it.

use super::authentication::AuthenticationSource;
use super::{ClientCertificates, Config, Listener, ListenerAddress};

impl Config {
    /// Whether a client of some listener can be a user.
    pub(crate) fn has_sources(&self) -> bool {
        self.default_sources().next().is_some() || self.listeners.iter().any(|it| !self.sources_of(it).is_empty())
    }

    /// Whether a file has users with passwords.
    pub(crate) fn has_passwords(&self) -> bool {
        self.authentication.password_file.is_some() || self.dynamic_security.is_some()
    }

    /// The sources of a listener in the order in which they are asked.
    pub(crate) fn sources_of(&self, listener: &Listener) -> Vec<AuthenticationSource> {
        if let Some(sources) = &listener.authentication {
            return sources.clone();
        }
        let certificate = listener.user_name_from.map(|_| AuthenticationSource::Certificate);
        certificate.into_iter().chain(self.default_sources()).collect()
    }

    /// The sources that need no certificates, in the order in which they are asked by default: a token says itself that it is one, and the web service
    /// decides about everybody.
    pub(crate) fn default_sources(&self) -> impl Iterator<Item = AuthenticationSource> {
        let sources = [AuthenticationSource::Jwt, AuthenticationSource::Password, AuthenticationSource::Http];
        sources.into_iter().filter(|source| self.has_source(*source))
    }

    /// Whether the configuration says what this source needs to know.
    pub(crate) fn has_source(&self, source: AuthenticationSource) -> bool {
        match source {
            AuthenticationSource::Certificate => true,
            AuthenticationSource::Jwt => self.authentication.jwt.is_some(),
            AuthenticationSource::Password => self.has_passwords(),
            AuthenticationSource::Http => self.authentication.http.is_some(),
        }
    }

    /// Whether clients that do not say who they are may connect through a listener.
    pub(crate) fn allows_anonymous(&self, listener: &Listener) -> bool {
        let (sources, is_local) = (self.sources_of(listener), listener.address.is_of_this_machine());
        // Through a proxy on this machine clients of others come. What systemd hands over may be open to others too.
        let may_be_others =
            !listener.proxy_protocol.is_empty() || matches!(listener.address, ListenerAddress::Inherited(_));
        let by_default = match sources.is_empty() {
            true => is_local || all_have_certificates(listener),
            false => is_local && !may_be_others && !sources.contains(&AuthenticationSource::Certificate),
        };
        listener.allow_anonymous.unwrap_or(by_default)
    }

    /// Whether other machines reach the listener, and nobody says that clients without any proof are meant.
    pub(crate) fn is_open_by_mistake(&self, listener: &Listener) -> bool {
        listener.allow_anonymous.is_none() && self.is_closed_to_all(listener)
    }

    /// Whether nobody could connect through a listener: it has no source, and anonymous clients are not allowed.
    pub(crate) fn is_closed_to_all(&self, listener: &Listener) -> bool {
        !self.allows_anonymous(listener) && self.sources_of(listener).is_empty()
    }
}

fn all_have_certificates(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificates::Required)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Whether anonymous clients may connect through a listener with these keys, without and with a password file.
    fn allows(keys: &str) -> [bool; 2] {
        ["", "[authentication]\npassword_file = \"f\"\n"].map(|users| {
            let text = format!("{users}[[listener]]\n{keys}\n");
            let config = Config::from_toml(Path::new("gateway.toml"), &text).unwrap();
            config.allows_anonymous(&config.listeners[0])
        })
    }

    #[test]
    fn where_there_are_users_only_clients_that_are_surely_of_this_machine_may_be_anonymous() {
        assert_eq!(allows("address = \"127.0.0.1:1883\""), [true, true]);
        assert_eq!(allows("address = \"[::1]:1883\""), [true, true]);
        assert_eq!(allows("address = \"unix:/run/mqtt.sock\""), [true, true]);
        assert_eq!(allows("address = \"0.0.0.0:1883\""), [false, false]);
        assert_eq!(allows("address = \"systemd:mqtt\""), [true, false]);
        assert_eq!(allows("address = \"127.0.0.1:1883\"\nproxy_protocol = [\"127.0.0.1\"]"), [true, false]);
        assert_eq!(allows("address = \"0.0.0.0:1883\"\nallow_anonymous = true"), [true, true]);
        assert_eq!(allows("address = \"127.0.0.1:1883\"\nallow_anonymous = false"), [false, false]);
    }
}
