//! Where the doctor looks, and how an operator types to the same Redis.

use crate::config::Doctor;
use crate::model::Target;

/// One Redis, as it is shown and as it is typed to.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its URL, with the password as `***`.
    pub(super) shown: String,
    /// As whom we are logged in.
    pub(super) user: String,
    cli: String,
}

impl Place {
    pub(super) fn new(told: &Doctor) -> Self {
        let endpoint = &told.redis.endpoint;
        let mut cli = "redis-cli".to_owned();
        match &endpoint.target {
            Target::Tcp { host, port } => {
                if host != "127.0.0.1" {
                    cli += &format!(" -h {}", quoted(host));
                }
                cli += &format!(" -p {port}");
            }
            Target::Unix(path) => cli += &format!(" -s {}", quoted(&path.to_string_lossy())),
        }
        if let Some(tls) = &endpoint.tls {
            cli += " --tls";
            if let Some(file) = &tls.ca_file {
                cli += &format!(" --cacert {}", quoted(&file.to_string_lossy()));
            }
            if let Some(client) = &tls.client {
                let (cert, key) =
                    (client.cert_file.to_string_lossy(), client.key_file.to_string_lossy());
                cli += &format!(" --cert {} --key {}", quoted(&cert), quoted(&key));
            }
        }
        // The user of an operator, who may do more than the one we look as.
        if endpoint.password.is_some() {
            cli += " --askpass";
        }
        let user = endpoint.username.clone().unwrap_or_else(|| "default".to_owned());
        Self { shown: endpoint.to_string(), user, cli }
    }

    /// A line that runs a command in this Redis.
    pub(super) fn redis(&self, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        format!("{} {}", self.cli, words.join(" "))
    }

    /// A line that sets a setting of Redis for now and, where it has a file, for ever.
    pub(super) fn set(&self, setting: &str, value: &str) -> String {
        self.redis(&["CONFIG", "SET", setting, value])
    }

    /// A line that grants a user these rights.
    pub(super) fn grant(&self, user: &str, rights: &[String]) -> String {
        let mut words = vec!["ACL", "SETUSER", user];
        words.extend(rights.iter().map(String::as_str));
        self.redis(&words)
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_word_back() {
        assert_eq!(quoted("+config|get"), "'+config|get'");
        assert_eq!(quoted("noeviction"), "noeviction");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
