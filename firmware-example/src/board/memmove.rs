//! A `memmove` of 30 bytes, for copies between overlapping places. The one of the compiler's library is fast and takes 1.6 KB;
//! the linker leaves it out because this one exists.
//!
//! Such copies are rare here: a forgotten network neighbour is removed from a list, or a full buffer is moved to its front.
//! `memcpy` is still the library's.

// The run-time ABI for ARM lets the called function change R0 to R3, and expects no return value.
core::arch::global_asm!(
    ".section .text.__aeabi_memmove, \"ax\", %progbits",
    ".global __aeabi_memmove",
    ".global __aeabi_memmove4",
    ".global __aeabi_memmove8",
    ".type __aeabi_memmove, %function",
    ".type __aeabi_memmove4, %function",
    ".type __aeabi_memmove8, %function",
    ".thumb_func",
    "__aeabi_memmove:",
    ".thumb_func",
    "__aeabi_memmove4:",
    ".thumb_func",
    "__aeabi_memmove8:",
    "cmp r0, r1",
    "bhi 2f",
    // Copies towards lower addresses: the first byte first.
    "1:",
    "subs r2, #1",
    "blo 3f",
    "ldrb r3, [r1], #1",
    "strb r3, [r0], #1",
    "b 1b",
    // Copies towards higher addresses: the last byte first.
    "2:",
    "subs r2, #1",
    "blo 3f",
    "ldrb r3, [r1, r2]",
    "strb r3, [r0, r2]",
    "b 2b",
    "3:",
    "bx lr",
    ".size __aeabi_memmove, . - __aeabi_memmove",
);
