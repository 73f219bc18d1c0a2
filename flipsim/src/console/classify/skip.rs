//! Functions that say nothing about where the trouble is: the caller is of interest.
//!
//! Invariant: **one table**, which docs/classify.md shows row by row. A `*` stands for any text at that end of a name.

use crate::console::classify::kind::Kind;

/// Functions of one sort.
pub struct Skip {
    /// In which reports they are passed over.
    pub when: When,
    /// Their names, with spaces between.
    pub names: &'static str,
}

/// In which reports functions are passed over.
#[derive(Clone, Copy)]
pub enum When {
    /// In all.
    Always,
    /// In all, unless a fault struck at just this instruction.
    Traced,
    /// In those whose first line has one of these words.
    About(&'static [&'static str]),
}

use When::{About, Always, Traced};

/// The table.
pub static SKIPS: &[Skip] = &[
    // To copy, compare and fill memory.
    Skip {
        when: Always,
        names: "*memcpy* *memset* *memmove* *memcmp* memchr* *memdup* *strcmp* *strncmp* *strcpy* *strncpy* \
            *strscpy* *strlcpy* *strlen* *strnlen* *strstr* *strchr* *strdup* *strndup* *copy_to_user* \
            *copy_from_user* copy_to_iter* _copy_to_iter* copy_from_iter* _copy_from_iter* copy_page* \
            copy_folio_to_iter* copyin copyout *get_user* *put_user* clear_page* __arch_copy_* __pi_* \
            rep_movs* rep_stos* *nocheck read_word_at_a_time extract_user_to_sg extract_iter_to_sg",
    },
    // To allocate and free memory.
    Skip {
        when: Always,
        names: "*kmalloc* *kzalloc* *kcalloc* *kvmalloc* *krealloc* *vmalloc* *vzalloc* *kmem_cache* slab_* \
            *_slab __slab_* allocate_slab* *alloc_page* *alloc_frozen_pages* *folio_alloc* \
            filemap_alloc_folio* kfree kvfree vfree kfree_skb* free_unref_* get_page_from_freelist rmqueue* \
            prep_new_page kasprintf kvasprintf* ida_free",
    },
    // To keep lists, trees, bits and counts.
    Skip {
        when: Always,
        names: "*list_add* *list_del* *list_replace* *list_move* *list_splice* klist_* rb_* __rb_* xas_start \
            xas_load xas_find *rhashtable_lookup* refcount_* kref_* *ref_tracker* *atomic_* *atomic64_* \
            *set_bit *clear_bit *change_bit *test_bit crc[0-9]* crc_itu_t*",
    },
    // To take and give locks.
    Skip {
        when: Always,
        names: "_raw_* do_raw_* *spin_lock* *spin_unlock* *spin_trylock* *read_lock* *read_trylock* \
            *read_unlock* *write_lock* *write_trylock* *write_unlock* mutex_* __mutex_* rt_mutex_* down \
            down_* __down_* up_read up_write rwsem_* osq_* owner_on_cpu queued_* native_queued_* \
            lock_acquire* lock_release* __lock_acquire __lock_release *lock_class* *held_locks mark_lock* \
            hlock_class seqprop_assert __seqprop_assert trace_hardirq* trace_softirq* validate_chain \
            check_prev* check_deadlock check_noncircular *lockdep* lock_page* unlock_page* folio_unlock \
            folio_lock __folio_lock* raw_spin_rq* lock_timer_base *bh_enable* *bh_disable*",
    },
    // To check memory for the sanitizers.
    Skip {
        when: Always,
        names: "*kasan* *hwasan* *kmsan* __msan* *kcsan* *ubsan* __asan* __tsan* __sanitizer* __hwasan* \
            check_memory_region* kfence_* *_indirect_thunk_* perf_trace_*",
    },
    // To wake and queue.
    Skip {
        when: Always,
        names: "*__wake_up* complete finish_wait *queue_work* insert_work flush_work* __flush_work* \
            cancel_work_sync __cancel_work* drain_workqueue destroy_workqueue try_to_grab_pending \
            *del_timer* *timer_delete_sync* __mod_timer timer_is_static_object work_is_static_object \
            *queue_delayed_work* kthread_stop",
    },
    // To add and remove devices.
    Skip {
        when: Always,
        names: "device_add device_del device_unregister device_destroy device_release device_remove_file \
            device_for_each_child get_device_parent add_uevent_var devres_release_all hwrng_unregister \
            i2c_del_adapter __unregister_client rollback_registered* unregister_netdev* *sysfs_remove* \
            tty_unregister_device usb_kill_urb usb_kill_anchored_urbs usb_control_msg usb_hcd_submit_urb \
            usb_submit_urb usb_start_wait_urb usb_bulk_msg usb_interrupt_msg dummy_urb_enqueue kobject_* \
            cleanup_srcu_struct",
    },
    // To touch ports and pages.
    Skip {
        when: Always,
        names: "*readb *readw *readl *readq *writeb *writew *writel *writeq logic_in* logic_out* *__phys_addr* \
            __virt_to_phys* *compound_head find_lock_entries truncate_inode_pages_range mark_buffer_dirty \
            find_or_create_page pagecache_get_page grab_cache_page_write_begin __filemap_get_folio* \
            do_read_cache_folio read_cache_page sk_stop_timer_sync",
    },
    // To print.
    Skip {
        when: Always,
        names: "*printk* *snprintf* *scnprintf* va_format *string pointer hex_dump_to_buffer dev_err* dev_warn* \
            dev_info*",
    },
    // To drop references.
    Skip { when: Traced, names: "put_device iput iput_final ihold dput fast_dput" },
    // To report trouble.
    Skip {
        when: Traced,
        names: "__die* __dump_stack __panic* __report_* __show_* __ubsan_* __warn* bad_page* bug_handler \
            call_break_hook brk_handler *check_heap_object* __check_* check_* debug_* die die_* dump_* \
            *fortify_* free_page_is_bad handle_bug invalid_op fixup_bug kobject_* lookup_bug oom_* oops_* \
            out_of_memory panic* print_* refcount_warn* report_* sched_show_task show_regs* show_stack* \
            show_trace* show_mem* show_state* stack_trace_* arch_stack_walk walk_stackframe ubsan_* \
            usercopy_* warn_* watchdog_* nmi_* *trigger_* spin_dump spin_bug rwlock_bug sysfs_warn_dup \
            assertfail* btrfs_assertfail* skb_panic skb_over_panic skb_under_panic __might_* ___might_* \
            might_* __stack_chk_fail get_taint softlockup_* bad_range",
    },
    // To enter the kernel, and leave it.
    Skip {
        when: Traced,
        names: "asm_* exc_* entry_* el0_* el0t_* el1_* el1h_* el1t_* ret_from_* do_syscall* invoke_syscall \
            do_mem_abort do_page_fault do_*_fault do_bad_area do_invalid_op __do_kernel_fault do_sp_pc* \
            do_undef* do_serror* arm64_serror* do_error* do_trap* *_trap sysvec_* __sysvec_* apic_timer_* \
            smp_apic_timer_* local_apic_timer_* irq_* __irq_* common_interrupt* generic_handle_* \
            handle_percpu_* gic_* call_on_irq_stack do_interrupt_handler primary_entry \
            secondary_start_kernel",
    },
    // To schedule, wait and tick.
    Skip {
        when: Traced,
        names: "__schedule* schedule* __switch_to* context_switch preempt_schedule* io_schedule* __wait_* \
            bit_wait* wait_for_completion* wait_on_* do_wait_* rcu_* __rcu_* tick_sched* tick_nohz* \
            tick_handle_* tick_periodic* *hrtimer_* update_process_times arch_timer_handler* arch_cpu_idle \
            cpu_do_idle default_idle* do_idle native_safe_halt cpu_startup_entry kthread process_one_work \
            worker_thread synchronize_* __synchronize_* exp_funnel_lock",
    },
    // To count references.
    Skip { when: About(&["refcount"]), names: "refcount* *refcount_* kobject_* kref_*" },
    // To track objects.
    Skip {
        when: About(&["debugobjects", "ODEBUG"]),
        names: "*debug_* *rcu* *hrtimer_* *timer_* *work_* *percpu_* vunmap* vfree __free_* kobject_* free_* \
            *slab_free*",
    },
    // To allocate, where memory is leaked or too much is asked for.
    Skip {
        when: About(&["memory leak", "mm/"]),
        names: "*kmemleak* *alloc* create_object idr_get* *mmap* list_lru_init* *strdup* *memdup* pcpu_create*",
    },
    // To take a socket's lock, where lockdep is wrong.
    Skip { when: About(&["kernel/locking/lockdep.c"]), names: "lock_sock* release_sock*" },
    // To register in /proc.
    Skip {
        when: About(&["fs/proc/generic.c"]),
        names: "proc_* *_proc_* check that RCU is used rightly suspicious RCU *rcu* *kmem* *slab*",
    },
    // To register a lock.
    Skip { when: About(&["non-static key"]), names: "*stack* *lock* *IRQ*" },
    // To take and give spin locks.
    Skip { when: About(&["BUG: spinlock", "BUG: rwlock"]), names: "*spin_* *_lock* *_unlock*" },
    // To schedule, where it was forbidden.
    Skip { when: About(&["while atomic", "non-blocking section"]), names: "*schedule* *might_*" },
    // To ask for the CPU's number.
    Skip { when: About(&["in preemptible"]), names: "*preempt* *debug_* *processor_id* *this_cpu*" },
    // To wrap sockets' buffers.
    Skip {
        when: About(&["kernel BUG", "KMSAN"]),
        names: "skb_* *alloc_skb* netlink_ack netlink_rcv_skb *_encrypt crypto_* cipher_* drbg_*",
    },
    // To free and release pages.
    Skip {
        when: About(&["Bad page"]),
        names: "*free_page* *put_page* *get_page* *update_page* *release_page* free_unref* *folio* \
            truncate_inode_pages* page_frag_free *alloc* *vmap* *page_owner*",
    },
    // To handle a tag check (KASAN in hardware).
    Skip { when: About(&["KASAN"]), names: "*kernel_fault* *tag_check* *mem_abort* el1_* el1h_*" },
    // To set and use an MSR.
    Skip { when: About(&["MSR access"]), names: "ex_handler_* fixup_exception *do_general_protection* gp_*" },
];

/// What a function says about where the trouble is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The place itself.
    Much,
    /// It helps another function; better than nothing.
    Little,
    /// It only takes part in the report.
    Nothing,
}

/// What a function says in a report. `about` is the report's first line.
pub fn says(function: &str, kind: Kind, about: &str, is_pc: bool) -> Says {
    // The program counter says where a fault struck, even in a function that otherwise only reports.
    let struck =
        is_pc && matches!(kind, Kind::Oops | Kind::UnhandledFault | Kind::Serror | Kind::StackOverflow);
    let mut says = Says::Much;
    for row in SKIPS {
        let counts = match row.when {
            Always => true,
            Traced => !struck,
            About(words) => words.iter().any(|word| about.contains(word)),
        };
        if counts && row.names.split_ascii_whitespace().any(|name| is_named(function, name)) {
            if matches!(row.when, Traced) {
                return Says::Nothing;
            }
            says = Says::Little;
        }
    }
    says
}

/// Where an interrupt entered: what stands behind it in a trace was interrupted.
pub fn is_interrupt_entry(function: &str) -> bool {
    let names = "asm_sysvec_* asm_common_interrupt apic_timer_interrupt ret_from_intr common_interrupt el1_irq el1h_64_irq el0*_irq* __irq_svc __irq_usr nmi end_repeat_nmi asm_exc_nmi";
    names.split_ascii_whitespace().any(|name| is_named(function, name))
}

fn is_named(function: &str, pattern: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(rest), Some(_)) => function.contains(rest.trim_end_matches('*')),
        (Some(end), None) => function.ends_with(end),
        (None, Some(start)) if start.ends_with("[0-9]") => function
            .strip_prefix(start.trim_end_matches("[0-9]"))
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())),
        (None, Some(start)) => match start.split_once('*') {
            Some((start, inner)) => function.strip_prefix(start).is_some_and(|rest| rest.contains(inner)),
            None => function.starts_with(start),
        },
        (None, None) => match pattern.split_once('*') {
            Some((start, end)) => {
                function.len() >= pattern.len() - 1 && function.starts_with(start) && function.ends_with(end)
            }
            None => function == pattern,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_at_its_end_of_a_name() {
        for (pattern, yes, no) in [
            ("*list_add*", "__hlist_add_head", "list_append"),
            ("rb_*", "rb_erase", "verb_x"),
            ("*_slab", "new_slab", "slab_x"),
            ("down", "down", "shutdown"),
            ("crc[0-9]*", "crc32_le", "crcx"),
            ("do_*_fault", "do_translation_fault", "do_fault"),
            ("el0*_irq*", "el0t_64_irq_handler", "el1_irq"),
        ] {
            assert!(is_named(yes, pattern) && !is_named(no, pattern), "{pattern}");
        }
    }

    #[test]
    fn the_docs_show_every_row() {
        let docs = include_str!("../../../../docs/classify.md");
        for row in SKIPS {
            for name in row.names.split_ascii_whitespace() {
                assert!(docs.contains(&format!("`{name}`")), "docs/classify.md: {name}");
            }
        }
    }
}
