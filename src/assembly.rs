//! Proof at link time that OpenH264 was built with its assembly.
//!
//! Where `nasm` is missing, the codec builds as plain C without a word and runs three times
//! slower. Its CPU detection exists in assembly only, so this reference makes such a build fail
//! with "undefined symbol: WelsCPUIdVerify": install nasm, `cargo clean -p openh264-sys2`, build again.

use openh264_sys2 as _;

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
#[allow(unsafe_code, reason = "names a C symbol so that the linker must find it; it is never called")]
mod x86 {
    unsafe extern "C" {
        fn WelsCPUIdVerify() -> i32;
    }

    #[used]
    static LINKED: unsafe extern "C" fn() -> i32 = WelsCPUIdVerify;
}

/// Whether the codec has assembly for this processor; if it should and has not, nothing links.
pub const fn is_linked() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64"))
}
