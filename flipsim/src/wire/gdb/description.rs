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
    /// A register without a name, or with an invalid width or number.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(files: &[(&str, &str)]) -> Result<Vec<RegisterInfo>, DescriptionError> {
        read_description(|file| {
            let found = files.iter().find(|(name, _)| *name == file);
            Ok(found.unwrap_or_else(|| panic!("no file {file}")).1.to_owned())
        })
    }

    fn numbers(files: &[(&str, &str)]) -> Vec<(String, u32)> {
        read(files).unwrap().into_iter().map(|register| (register.name, register.number)).collect()
    }

    fn named(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
        pairs.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn qemus_undeclared_prefix_and_doctype_are_taken() {
        let target = r#"<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>aarch64</architecture><xi:include href="core.xml"/><xi:include href="sys.xml"/></target>"#;
        let core = r#"<?xml version="1.0"?><!-- c --><!DOCTYPE feature SYSTEM "gdb-target.dtd"><feature name="org.core"><reg name="x0" bitsize="64"/><reg name="pc" bitsize="64" type="code_ptr"/></feature>"#;
        let sys = r#"<feature name="org.sys"><reg name="TTBR0" bitsize="64" regnum="70" group="cp_regs"/></feature>"#;
        let registers = read(&[("target.xml", target), ("core.xml", core), ("sys.xml", sys)]).unwrap();
        insta::assert_compact_debug_snapshot!(registers, @r#"[RegisterInfo { name: "x0", number: 0, bits: 64, feature: "org.core", group: None, kind: None }, RegisterInfo { name: "pc", number: 1, bits: 64, feature: "org.core", group: None, kind: Some("code_ptr") }, RegisterInfo { name: "TTBR0", number: 70, bits: 64, feature: "org.sys", group: Some("cp_regs"), kind: None }]"#);
    }

    #[test]
    fn a_declared_prefix_is_taken_as_well() {
        let target =
            r#"<target xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="a.xml"/></target>"#;
        let a = r#"<feature name="f"><reg name="r" bitsize="8"/></feature>"#;
        assert_eq!(numbers(&[("target.xml", target), ("a.xml", a)]), named(&[("r", 0)]));
    }

    #[test]
    fn a_register_number_overrides_the_running_one_and_later_ones_follow_it() {
        let target = r#"<target><feature name="a"><reg name="r0" bitsize="32"/><reg name="r5" bitsize="32" regnum="5"/><reg name="r6" bitsize="32"/></feature><feature name="b"><reg name="r7" bitsize="32"/></feature></target>"#;
        assert_eq!(numbers(&[("target.xml", target)]), named(&[("r0", 0), ("r5", 5), ("r6", 6), ("r7", 7)]));
    }

    #[test]
    fn the_running_number_goes_on_across_includes() {
        let target = r#"<target><xi:include href="a.xml"/><feature name="b"><reg name="y" bitsize="8"/></feature></target>"#;
        let a = r#"<feature name="a"><reg name="x" bitsize="8" regnum="9"/></feature>"#;
        assert_eq!(numbers(&[("target.xml", target), ("a.xml", a)]), named(&[("x", 9), ("y", 10)]));
    }

    #[test]
    fn a_width_is_rounded_up_to_bytes() {
        let target = r#"<target><reg name="flag" bitsize="1"/><reg name="v" bitsize="128"/></target>"#;
        let registers = read(&[("target.xml", target)]).unwrap();
        assert_eq!(registers.iter().map(RegisterInfo::bytes).collect::<Vec<_>>(), [1, 16]);
    }

    #[test]
    fn files_that_include_themselves_end_in_an_error() {
        let target = r#"<target><xi:include href="target.xml"/></target>"#;
        assert_eq!(read(&[("target.xml", target)]), Err(DescriptionError::TooManyFiles));
    }

    #[test]
    fn a_description_without_registers_or_with_broken_ones_is_refused() {
        let error = |text| read(&[("target.xml", text)]).unwrap_err().to_string();
        insta::assert_snapshot!(error("<target/>"), @"the target description names no register; QEMU offers none for this kind of CPU");
        insta::assert_snapshot!(error(r#"<target><reg name="x" bitsize="many"/></target>"#), @"`target.xml` of the target description has a <reg> whose `bitsize` is missing or no number");
        assert!(error(r#"<target><reg name="x" bitsize="0"/></target>"#).contains("bitsize"));
        assert!(error(r#"<target><reg bitsize="8"/></target>"#).contains("name"));
        assert!(error(r#"<target><reg name="x" bitsize="8" regnum="-1"/></target>"#).contains("regnum"));
        assert!(
            error(r#"<target><reg name="x" bitsize="8" regnum="4294967295"/></target>"#).contains("regnum")
        );
        assert!(error("<target>").contains("no valid XML"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_description_reader_panic(text in r#"[<>/a-z"= :]{0,60}"#) {
            let _ = read_description::<DescriptionError>(|_| Ok(text.clone()));
        }
    }
}
