//! The files whose pages are in memory.
//!
//! Invariant: a mapping is a file's only where the file says so as well.

use crate::kernel::known::Kernel;
use crate::kernel::view::View;

impl Kernel<'_> {
    /// What a mapping (`address_space`) is of: a path below where its file system is mounted, or what else the kernel has of it;
    /// `None` of none.
    pub fn file_of(&self, view: &mut View<'_>, mapping: u64) -> Option<String> {
        let inode = view.get(mapping, self.field("address_space", "host")?)?;
        let field = |path| self.field("inode", path);
        let own = view.get(inode, field("i_mapping")?)?;
        let inside = inode.wrapping_add(field("i_data")?.offset);
        if own != mapping && inside != mapping {
            return None;
        }
        if let Some(path) = self.path_of(view, inode) {
            return Some(path);
        }
        let block = self.value(view, inode, field("i_sb"))?;
        let system = self.value(view, block, self.field("super_block", "s_type"));
        let name = system.and_then(|system| view.get(system, self.field("file_system_type", "name")?));
        let name = name.and_then(|name| view.text(name, 32)).unwrap_or_default();
        let device = self.value(view, inode, field("i_rdev")).filter(|device| *device != 0);
        let number = self.value(view, inode, field("i_ino")).unwrap_or(0);
        Some(match device {
            // `MINORBITS` of `include/linux/kdev_t.h`.
            Some(device) => format!("{name} {}:{}", device >> 20 & 0xfff, device & 0xf_ffff),
            None => format!("{name} inode {number}"),
        })
    }

    /// The path of an inode by its first name.
    fn path_of(&self, view: &mut View<'_>, inode: u64) -> Option<String> {
        let first = view.get(inode, self.field("inode", "i_dentry.first")?).filter(|first| *first != 0)?;
        let entry = first.wrapping_sub(self.field("dentry", "d_u.d_alias")?.offset);
        self.path(view, entry)
    }
}
