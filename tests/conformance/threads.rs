//! Runs more tests at a time than there are cores, since tests over TCP wait for most of their time.
//!
//! The test program of the standard library reads the number of threads from the environment when `main` begins. The code here sets
//! it before `main`, on systems with `.init_array`; on other systems the tests take longer. A number in the environment or on the
//! command line is left as it is.

#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = set_threads;

#[cfg(target_os = "linux")]
extern "C" fn set_threads() {
    const NAME: &str = "RUST_TEST_THREADS";
    const FOR_EACH_CORE: usize = 6;
    if std::env::var_os(NAME).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // SAFETY: before `main` there is no other thread that could read the environment.
        unsafe { std::env::set_var(NAME, (cores * FOR_EACH_CORE).to_string()) };
    }
}
