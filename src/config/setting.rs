//! What a setting is, and the macro that declares one together with the field it fills.

use crate::model::Component;

use super::reader::Reader;

/// One setting: everything that help, documentation and error messages say about it.
#[derive(Debug)]
pub struct Setting {
    /// The flag with its dashes; `None` for what is read from the environment alone.
    pub flag: Option<&'static str>,
    /// The environment variable.
    pub variable: &'static str,
    /// The placeholder of its value, such as `DURATION`.
    pub form: &'static str,
    /// What holds when nothing is given.
    pub default: DefaultText,
    /// What it means, in whole sentences.
    pub doc: &'static str,
    /// The heading it stands under in help and documentation.
    pub heading: &'static str,
    /// The programs that read it.
    pub programs: &'static [Component],
    /// Whether its text may hold a credential.
    pub secret: bool,
    /// Whether the flag may be repeated.
    pub list: bool,
    /// Whether the flag may stand without a value, meaning `true`.
    pub switch: bool,
    /// The text as an operator may see it: without credentials.
    pub show: fn(&str) -> String,
}

impl Setting {
    /// The key in a configuration file: the flag's name with `_`.
    pub fn key(&self) -> Option<String> {
        self.name().map(|name| name.replace('-', "_"))
    }

    /// The flag without its dashes.
    pub fn name(&self) -> Option<&'static str> {
        self.flag.map(|flag| flag.trim_start_matches('-'))
    }

    /// How a fault names the setting: flag and environment variable.
    pub fn title(&self) -> String {
        match self.flag {
            Some(flag) => format!("{flag} ({})", self.variable),
            None => self.variable.to_owned(),
        }
    }

    /// Whether this program reads it.
    pub fn belongs_to(&self, program: Component) -> bool {
        self.programs.contains(&program)
    }

    /// The documentation as one paragraph.
    pub fn paragraph(&self) -> String {
        self.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
    }
}

/// What holds when a setting is not given.
#[derive(Clone, Copy, Debug)]
pub enum DefaultText {
    /// This text, for every program.
    Text(&'static str),
    /// One text for a server, another for a worker.
    PerDaemon {
        /// A server's.
        server: &'static str,
        /// A worker's.
        worker: &'static str,
    },
    /// No value; the words say what happens then.
    Unset(&'static str),
}

impl DefaultText {
    /// The text to read for this program.
    pub fn text(&self, program: Component) -> Option<&'static str> {
        match (self, program) {
            (DefaultText::Text(text), _) => Some(text),
            (DefaultText::PerDaemon { worker, .. }, Component::Worker) => Some(worker),
            (DefaultText::PerDaemon { server, .. }, _) => Some(server),
            (DefaultText::Unset(_), _) => None,
        }
    }
}

/// Settings that are read together into one value.
pub(super) trait Group: Sized {
    /// Reads the group. A setting that cannot be read is a fault of the reader and leaves its
    /// default in place, so that everything else is still looked at.
    fn read(reader: &mut Reader<'_>) -> Self;
}

/// The first of none or one.
pub(super) const fn optional(flag: &[&'static str]) -> Option<&'static str> {
    match flag {
        [first, ..] => Some(*first),
        [] => None,
    }
}

/// Declares structs whose fields are settings. Each field says: type, default, flag, variable.
macro_rules! settings {
    ($(
        $(#[$doc:meta])*
        $visibility:vis struct $group:ident under $heading:literal of [$($program:ident),+] {
            $(inside { $($(#[$inner_doc:meta])* $inner:ident: $inner_type:ty,)+ })?
            $(
                $(#[doc = $text:literal])+
                $field:ident: $type:ty = $default:expr, $(flag $flag:literal,)? env $variable:literal;
            )*
        }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq)]
            $visibility struct $group {
                $($($(#[$inner_doc])* $visibility $inner: $inner_type,)+)?
                $($(#[doc = $text])+ $visibility $field: $type,)*
            }

            impl $group {
                const PROGRAMS: &'static [Component] = &[$(Component::$program),+];
                const SETTINGS: &'static [Setting] = &[$(Setting {
                    flag: optional(&[$($flag)?]),
                    variable: $variable,
                    form: <$type as Value>::FORM,
                    default: $default,
                    doc: concat!($($text, "\n"),+),
                    heading: $heading,
                    programs: Self::PROGRAMS,
                    secret: <$type as Value>::SECRET,
                    list: <$type as Value>::LIST,
                    switch: <$type as Value>::SWITCH,
                    show: <$type as Value>::show,
                },)*];
            }

            impl Group for $group {
                fn read(reader: &mut Reader<'_>) -> Self {
                    // Fields are evaluated in this order, which is the order of the faults.
                    Self {
                        $($($inner: <$inner_type as Group>::read(reader),)+)?
                        $($field: reader.value::<$type>($variable),)*
                    }
                }
            }
        )+

        /// Every setting, in the order of the documentation.
        pub fn settings() -> impl Iterator<Item = &'static Setting> {
            [$($group::SETTINGS),+].into_iter().flatten()
        }
    };
}

pub(super) use settings;
