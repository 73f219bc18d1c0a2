//! The target description: which registers the stub serves, under which number and name.
//!
//! Source: "Debugging with GDB", appendix "Target Descriptions"; QEMU's `gdb-xml/` and, for what is
//! generated, `target/arm/gdbstub.c`.
//!
//! Invariant: a register's number is the one that `p` and `P` take, whatever order the files come in.

use roxmltree::{Document, Node, ParsingOptions};

/// More files than any description has; an endless chain of includes ends here.
const MAX_FILES: usize = 64;

/// One register, as the stub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterInfo {
    /// Its name, as in `x0`, `pc`, `cpsr`.
    pub name: String,
    /// Its number in `p` and `P` packets.
    pub number: u32,
    /// Its width in bits, as it travels: the guest's own register may be narrower.
    pub bits: u32,
    /// The feature that it belongs to, as in `org.gnu.gdb.aarch64.core`.
    pub feature: String,
    /// The attribute `group`, as in `cp_regs` for the system registers of QEMU's Arm targets.
    pub group: Option<String>,
    /// The attribute `type`, as in `code_ptr` or `vec128`.
    pub kind: Option<String>,
}

impl RegisterInfo {
    /// Its width in bytes, rounded up.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bits.div_ceil(8) as usize
    }
}

/// Why a description could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// No XML, or XML with an error in it.
    #[error("`{file}` of the target description is no valid XML: {reason}; is this QEMU 7.1 or newer?")]
    Xml {
        /// The file, as it was asked for.
        file: String,
        /// What the parser said, and where.
        reason: String,
    },
    /// A register without a name, or a width or number that is none.
    #[error("`{file}` of the target description has a <reg> whose `{attribute}` is missing or no number")]
    Register {
        /// The file, as it was asked for.
        file: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// Files that include one another without end.
    #[error("the target description has more than {MAX_FILES} files; do they include one another?")]
    TooManyFiles,
    /// A description without any register.
    #[error("the target description names no register; QEMU offers none for this kind of CPU")]
    Empty,
}

/// Reads a description: `fetch` is asked for `target.xml`, then for each file that is included.
///
/// # Errors
/// What `fetch` fails with, and [`DescriptionError`] for content that makes no sense.
pub fn read_description<E: From<DescriptionError>>(
    mut fetch: impl FnMut(&str) -> Result<String, E>,
) -> Result<Vec<RegisterInfo>, E> {
    let mut reader = Reader { registers: Vec::new(), next_number: 0, files: 0 };
    reader.file("target.xml", &mut fetch)?;
    if reader.registers.is_empty() {
        return Err(DescriptionError::Empty.into());
    }
    Ok(reader.registers)
}

struct Reader {
    registers: Vec<RegisterInfo>,
    next_number: u32,
    files: usize,
}

impl Reader {
    fn file<E: From<DescriptionError>>(
        &mut self,
        file: &str,
        fetch: &mut impl FnMut(&str) -> Result<String, E>,
    ) -> Result<(), E> {
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(DescriptionError::TooManyFiles.into());
        }
        let text = declare_xinclude(fetch(file)?);
        let options = ParsingOptions { allow_dtd: true, nodes_limit: 1 << 20, ..ParsingOptions::default() };
        let document = Document::parse_with_options(&text, options)
            .map_err(|error| DescriptionError::Xml { file: file.to_owned(), reason: error.to_string() })?;
        for node in document.descendants().filter(Node::is_element) {
            // In document order, because a register without a number follows the one before it.
            match node.tag_name().name() {
                "include" => {
                    if let Some(href) = node.attribute("href") {
                        self.file(href, fetch)?;
                    }
                }
                "reg" => self.register(file, node)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn register(&mut self, file: &str, node: Node<'_, '_>) -> Result<(), DescriptionError> {
        let bad = |attribute| DescriptionError::Register { file: file.to_owned(), attribute };
        let number = match node.attribute("regnum") {
            Some(text) => text.trim().parse().map_err(|_| bad("regnum"))?,
            None => self.next_number,
        };
        let bits = node.attribute("bitsize").and_then(|text| text.trim().parse().ok());
        let feature = node.ancestors().find(|above| above.has_tag_name("feature"));
        self.registers.push(RegisterInfo {
            name: node.attribute("name").ok_or_else(|| bad("name"))?.to_owned(),
            number,
            bits: bits.filter(|bits| *bits > 0 && *bits <= 1 << 16).ok_or_else(|| bad("bitsize"))?,
            feature: feature.and_then(|node| node.attribute("name")).unwrap_or_default().to_owned(),
            group: node.attribute("group").map(str::to_owned),
            kind: node.attribute("type").map(str::to_owned),
        });
        self.next_number = number.checked_add(1).ok_or_else(|| bad("regnum"))?;
        Ok(())
    }
}

/// QEMU writes `<xi:include>` without declaring the prefix, which is no valid XML with namespaces.
fn declare_xinclude(text: String) -> String {
    if text.contains("<xi:") && !text.contains("xmlns:xi") {
        text.replace("<xi:", "<").replace("</xi:", "</")
    } else {
        text
    }
}
