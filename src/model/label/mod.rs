//! Every label value a metric or a log line may carry, spelled once.
//!
//! A label is a closed enum: [`Label::ALL`] seeds the legal series at zero and prints the
//! documentation. A channel, a client id, a subject, a key or an error text is never a label.

mod client;
mod command;
mod connection;
mod http;
mod queue;

pub use client::*;
pub use command::*;
pub use connection::*;
pub use http::*;
pub use queue::*;

/// A closed set of label values under one or more label keys.
pub trait Label: Copy + 'static {
    /// The label keys, in the order of [`Label::values`].
    const KEYS: &'static [&'static str];
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// The position in [`Label::ALL`].
    fn index(self) -> usize;
    /// One value for each of [`Label::KEYS`].
    fn values(self) -> Vec<&'static str>;
    /// Whether a process of this component can ever export this value.
    fn legal(self, _component: Component) -> bool {
        true
    }
}

/// Declares closed enums together with the words they are spoken in.
macro_rules! labels {
    ($(
        $(#[$doc:meta])*
        $name:ident as $key:literal {
            $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+
        }
        $(legal($this:ident, $component:ident) = $legal:expr)?;
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }
        impl $name {
            /// The word used in metrics, logs and answers.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
        impl Label for $name {
            const KEYS: &'static [&'static str] = &[$key];
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn index(self) -> usize { self as usize }
            fn values(self) -> Vec<&'static str> { vec![self.label()] }
            $(fn legal(self, $component: $crate::model::Component) -> bool { let $this = self; $legal })?
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { self.label() }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.label()) }
        }
    )+};
}
use labels;

/// What is running: version, revision, compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Build;

impl Build {
    /// The package's version.
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    /// The commit it was built from, or `unknown`.
    pub const REVISION: &'static str = match option_env!("TRUNKLINE_REVISION") {
        Some(revision) => revision,
        None => "unknown",
    };
    /// The compiler that built it.
    pub const RUSTC: &'static str = env!("TRUNKLINE_RUSTC");
}

impl Label for Build {
    const KEYS: &'static [&'static str] = &["version", "revision", "rustc"];
    const ALL: &'static [Self] = &[Build];
    fn index(self) -> usize {
        0
    }
    fn values(self) -> Vec<&'static str> {
        vec![Self::VERSION, Self::REVISION, Self::RUSTC]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_diagram_has_thirteen_edges_and_each_knows_its_place() {
        assert_eq!(Edge::ALL.len(), 13);
        for (at, edge) in Edge::ALL.iter().enumerate() {
            assert_eq!(edge.index(), at);
        }
    }

    #[test]
    fn a_worker_has_no_subscriber() {
        assert!(!Role::Subscriber.legal(Component::Worker));
        assert!(Role::Subscriber.legal(Component::Server));
        assert!(Role::Shared.legal(Component::Worker));
    }
}
