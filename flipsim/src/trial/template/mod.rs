//! A guest saved at its quiescent point.

pub(crate) mod error;
pub(super) mod make;
pub(crate) mod saved;
pub(super) mod verify;

pub use error::TemplateError;
pub use make::{Booted, MakeOptions, boot};
pub use saved::{BaseImage, FORMAT, FileStamp, Input, Template, TemplateInfo, TemplatePlan};
