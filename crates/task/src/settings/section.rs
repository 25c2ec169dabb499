//! One definition per settings section: the struct, its defaults and its reference.

/// A setting as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The dotted path in `sprat.toml`.
    pub path: &'static str,
    /// The name of the Rust type, from which the reference derives the TOML type.
    pub kind: &'static str,
    /// What the setting means.
    pub about: &'static str,
}

/// Defines a section: a struct that TOML fills, refuses unknown keys, has a default for every
/// field, and carries the fields' documentation as data in `FIELDS`.
macro_rules! section {
    ($(#[doc = $about:expr])+ $name:ident [$path:literal] {
        $( $(#[doc = $doc:expr])+ $field:ident : $type:ty = $default:expr, )*
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $type, )* }

        impl Default for $name {
            fn default() -> Self {
                $name { $( $field: $default, )* }
            }
        }

        impl $name {
            /// The section's settings, for the reference and for the search for nearest keys.
            pub const FIELDS: &'static [$crate::settings::Field] = &[
                $( $crate::settings::Field {
                    path: concat!($path, ".", stringify!($field)),
                    kind: stringify!($type),
                    about: concat!($($doc),+),
                }, )*
            ];
        }
    };
}
pub(crate) use section;
