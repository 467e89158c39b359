//! Loaded into a program before all else (`LD_PRELOAD`), it hides instructions of the processor.
//!
//! Linux lets a process be interrupted by each `cpuid` instruction, where the processor can do that
//! (`cpuid_fault` in `/proc/cpuinfo`). The signal's handler asks the processor itself and takes bits
//! out of the answer. So whatever chooses code by `cpuid` chooses that of a lesser processor, and runs
//! it at full speed. `LESSER_PROCESSOR` says which: `avx2` hides AVX-512, VNNI and AMX; `avx512` hides
//! VNNI, what came after it, and AMX. Without the variable nothing is done.
//!
//! The C library has chosen its own functions before; they are exact. Nothing is hidden from a program
//! that asks in another way (`/proc/cpuinfo`, `xgetbv`).

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod hide {
    use std::arch::x86_64::__cpuid_count;
    use std::ffi::{c_int, c_void};
    use std::mem::MaybeUninit;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// `arch_prctl`'s code for whether `cpuid` may be executed.
    const ARCH_SET_CPUID: c_int = 0x1012;
    /// What a signal's `si_code` says of a fault that is no access to memory.
    const SI_KERNEL: c_int = 0x80;
    /// The instruction.
    const CPUID: [u8; 2] = [0x0f, 0xa2];
    /// Exit code where the processor or the kernel cannot do this.
    const UNAVAILABLE: c_int = 4;

    /// Bits to be taken out of a leaf's EAX, EBX, ECX and EDX.
    struct Hidden {
        leaf: u32,
        subleaf: u32,
        registers: [u32; 4],
    }

    const fn bits<const N: usize>(numbers: [u32; N]) -> u32 {
        let (mut all, mut i) = (0, 0);
        while i < N {
            all |= 1 << numbers[i];
            i += 1;
        }
        all
    }

    /// AVX512_VNNI; AMX-BF16, AVX512_FP16, AMX-TILE, AMX-INT8; AVX-VNNI, AVX512_BF16, AMX-FP16, AVX-IFMA;
    /// AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10.
    const VNNI: [Hidden; 3] = [
        Hidden { leaf: 7, subleaf: 0, registers: [0, 0, bits([11]), bits([22, 23, 24, 25])] },
        Hidden {
            leaf: 7,
            subleaf: 1,
            registers: [bits([4, 5, 21, 23]), 0, 0, bits([4, 5, 8, 10, 19])],
        },
        // The state of AMX's tiles.
        Hidden { leaf: 13, subleaf: 0, registers: [bits([17, 18]), 0, 0, 0] },
    ];

    /// AVX512F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, BITALG, VPOPCNTDQ; 4VNNIW, 4FMAPS,
    /// VP2INTERSECT.
    const AVX512: [Hidden; 2] = [
        Hidden {
            leaf: 7,
            subleaf: 0,
            registers: [
                0,
                bits([16, 17, 21, 26, 27, 28, 30, 31]),
                bits([1, 6, 12, 14]),
                bits([2, 3, 8]),
            ],
        },
        // The state of its registers.
        Hidden { leaf: 13, subleaf: 0, registers: [bits([5, 6, 7]), 0, 0, 0] },
    ];

    static HIDE_AVX512: AtomicBool = AtomicBool::new(false);

    /// The dynamic linker calls it before the program begins.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static START: extern "C" fn() = start;

    extern "C" fn start() {
        let Some(which) = std::env::var_os("LESSER_PROCESSOR") else { return };
        match which.to_str() {
            Some("avx2") => HIDE_AVX512.store(true, Ordering::Relaxed),
            Some("avx512") => {}
            _ => end("LESSER_PROCESSOR can be avx2 or avx512", 2),
        }
        // SAFETY: `action` is all zeros, which is a valid `sigaction`, before its fields are set; the
        // handler lives as long as the program.
        let set = unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = interrupted as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut())
        };
        if set != 0 || !allow(false) {
            end("this processor or kernel does not interrupt `cpuid`", UNAVAILABLE);
        }
    }

    fn end(why: &str, code: c_int) -> ! {
        eprintln!("lesser-processor: {why}");
        // SAFETY: ends the process and touches nothing of it.
        unsafe { libc::_exit(code) }
    }

    /// Lets this thread, and those that it starts, execute `cpuid` or be interrupted by it.
    fn allow(allowed: bool) -> bool {
        // SAFETY: the call changes only what `cpuid` does, and has the arguments that it wants.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_CPUID, c_int::from(allowed)) == 0 }
    }

    /// Answers `cpuid` in the processor's place; any other fault ends the program as ever.
    extern "C" fn interrupted(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel gives a handler with `SA_SIGINFO` what happened, and the context of the
        // interrupted thread, which nothing else looks at until the handler returns.
        let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
        let registers = &mut context.uc_mcontext.gregs;
        let at = |register: c_int| register as usize;
        // A fault that is not of a memory access comes from the kernel itself, at an instruction that
        // the processor has just read.
        let is_cpuid = info.si_code == SI_KERNEL && {
            let instruction = registers[at(libc::REG_RIP)] as *const [u8; 2];
            // SAFETY: see above.
            unsafe { instruction.read_unaligned() == CPUID }
        };
        if !is_cpuid {
            // The instruction is executed again and ends the program.
            // SAFETY: the default action needs nothing of the program.
            unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
            return;
        }
        let (leaf, subleaf) =
            (registers[at(libc::REG_RAX)] as u32, registers[at(libc::REG_RCX)] as u32);
        allow(true);
        let answer = __cpuid_count(leaf, subleaf);
        allow(false);
        let mut answer = [answer.eax, answer.ebx, answer.ecx, answer.edx];
        let avx512: &[Hidden] = if HIDE_AVX512.load(Ordering::Relaxed) { &AVX512 } else { &[] };
        for hidden in VNNI.iter().chain(avx512) {
            if (hidden.leaf, hidden.subleaf) == (leaf, subleaf) {
                for (value, bits) in answer.iter_mut().zip(hidden.registers) {
                    *value &= !bits;
                }
            }
        }
        for (register, value) in
            [libc::REG_RAX, libc::REG_RBX, libc::REG_RCX, libc::REG_RDX].into_iter().zip(answer)
        {
            registers[at(register)] = i64::from(value);
        }
        registers[at(libc::REG_RIP)] += CPUID.len() as i64;
    }
}
