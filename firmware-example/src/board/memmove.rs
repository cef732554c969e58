//! Copies bytes to where they overlap with themselves, in 30 bytes: that of the compiler's library takes 1.6 KB, to be fast, and
//! is left out where another one is given.
//!
//! Nothing does this often: a neighbour is forgotten, a full buffer is moved to its front. `memcpy` is the library's.

// R0 to R3 are the called function's, and nothing is returned: so says the run-time ABI for ARM.
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
    // Downwards: the first byte first.
    "1:",
    "subs r2, #1",
    "blo 3f",
    "ldrb r3, [r1], #1",
    "strb r3, [r0], #1",
    "b 1b",
    // Upwards: the last byte first.
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
