//! What TensorRT's engines depend on beside the model: the GPU, its driver, TensorRT itself.

use std::ffi::{c_char, c_int, c_uint};
use std::path::Path;

use libloading::Library;

use crate::error::one_line;

/// The driver's library.
const DRIVER: &str = "libcuda.so.1";
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `..._MINOR` of `cuda.h`.
const COMPUTE_CAPABILITY: [c_int; 2] = [75, 76];
/// Files that tell the driver's release, in the order in which they are asked. The driver's library
/// tells only the version of CUDA that it speaks, which many releases share.
const RELEASES: [&str; 3] = [
    "proc/driver/nvidia/version",
    "sys/module/nvidia/version",
    // Jetson boards with the driver inside the kernel: the release of Jetson Linux.
    "etc/nv_tegra_release",
];

/// The first GPU: its name and compute capability, and the version of CUDA that its driver speaks.
///
/// # Errors
/// Why it cannot be told.
pub(crate) fn gpu() -> Result<(String, String), String> {
    // SAFETY: loading runs the library's own start-up code. It is NVIDIA's driver, by the name that the
    // system's loader gives it, and ONNX Runtime's providers load the very same one.
    let driver = unsafe { Library::new(DRIVER) }.map_err(one_line)?;
    type Init = unsafe extern "C" fn(c_uint) -> c_int;
    type DriverVersion = unsafe extern "C" fn(*mut c_int) -> c_int;
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
    let missing = |e: libloading::Error| one_line(e);
    let done = |what: &str, code: c_int| match code {
        0 => Ok(()),
        code => Err(format!("{DRIVER}: {what} says error {code}")),
    };
    let mut name: [c_char; 256] = [0; 256];
    let (mut version, mut device, mut capability) = (0, 0, [0; 2]);
    // SAFETY: the types are those of these functions in `cuda.h`, where they have been the same since
    // CUDA 2.0 (a `CUdevice` and a `CUresult` are ints). Every pointer is to a live local variable of
    // that type, and the name's length is given.
    unsafe {
        let init = driver.get::<Init>(b"cuInit\0").map_err(missing)?;
        done("cuInit", init(0))?;
        let driver_version =
            driver.get::<DriverVersion>(b"cuDriverGetVersion\0").map_err(missing)?;
        done("cuDriverGetVersion", driver_version(&raw mut version))?;
        let get = driver.get::<Get>(b"cuDeviceGet\0").map_err(missing)?;
        done("cuDeviceGet", get(&raw mut device, 0))?;
        let get_name = driver.get::<Name>(b"cuDeviceGetName\0").map_err(missing)?;
        done("cuDeviceGetName", get_name(name.as_mut_ptr(), name.len() as c_int, device))?;
        let attribute = driver.get::<Attribute>(b"cuDeviceGetAttribute\0").map_err(missing)?;
        for (value, which) in capability.iter_mut().zip(COMPUTE_CAPABILITY) {
            done("cuDeviceGetAttribute", attribute(&raw mut *value, which, device))?;
        }
    }
    let name: Vec<u8> = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    let [major, minor] = capability;
    let name = format!("{}, compute capability {major}.{minor}", String::from_utf8_lossy(&name));
    // 12040 is CUDA 12.4.
    Ok((name, format!("CUDA {}.{}", version / 1000, version % 1000 / 10)))
}

/// The release of the driver, as the first file that tells it has it; `root` is `/` on a real machine.
pub(crate) fn driver_release(root: &Path) -> Option<String> {
    RELEASES.iter().find_map(|file| {
        let text = std::fs::read_to_string(root.join(file)).ok()?;
        // The second line of the first file names the compiler that the kernel was built with.
        let line = text.lines().next()?.split_whitespace().collect::<Vec<_>>().join(" ");
        (!line.is_empty()).then_some(line)
    })
}

/// The version of the TensorRT that this process has loaded, as a number: from 10 on 101303 is 10.13.3.
///
/// # Errors
/// If none is loaded, or it does not tell.
pub(crate) fn tensorrt() -> Result<String, String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|e| e.to_string())?;
    let path = loaded_library(&maps, "libnvinfer.so")
        .ok_or("TensorRT's libnvinfer.so is not loaded by ONNX Runtime's provider")?;
    type Version = unsafe extern "C" fn() -> i32;
    // SAFETY: the library is loaded already, by ONNX Runtime, so that none of its code runs now. The
    // function is declared so in `NvInferRuntime.h`: no parameter, an `int32_t`, no exception.
    let version = unsafe {
        let library = Library::new(path).map_err(one_line)?;
        let version = library.get::<Version>(b"getInferLibVersion\0");
        version.map_err(one_line)?()
    };
    Ok(version.to_string())
}

/// The file of a library whose name begins with `name` in a `/proc/PID/maps`.
fn loaded_library<'a>(maps: &'a str, name: &str) -> Option<&'a str> {
    // Five columns of numbers, then the path, which may have spaces.
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    paths.into_iter().find(|path| path.rsplit('/').next().is_some_and(|n| n.starts_with(name)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_release_is_the_first_line_of_the_first_file() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(driver_release(root.path()), None);
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("etc/nv_tegra_release", "# R36 (release), REVISION: 4.0\n");
        assert_eq!(driver_release(root.path()).unwrap(), "# R36 (release), REVISION: 4.0");
        write("sys/module/nvidia/version", "\n");
        assert_eq!(driver_release(root.path()).unwrap(), "# R36 (release), REVISION: 4.0");
        write(
            "proc/driver/nvidia/version",
            "NVRM version:  NVIDIA 580.1  Release\nGCC version: 13\n",
        );
        assert_eq!(driver_release(root.path()).unwrap(), "NVRM version: NVIDIA 580.1 Release");
    }

    #[test]
    fn a_loaded_library_is_found_by_its_name() {
        let maps = "7f0-7f1 r-xp 00000000 08:01 12 /usr/lib/libnvinfer_plugin.so.10\n\
                    7f1-7f2 r-xp 00000000 08:01 13 /opt/tensor rt/libnvinfer.so.10\n\
                    7f2-7f3 rw-p 00000000 00:00 0 [stack]\n";
        assert_eq!(loaded_library(maps, "libnvinfer.so"), Some("/opt/tensor rt/libnvinfer.so.10"));
        assert_eq!(loaded_library(maps, "libcudart.so"), None);
    }

    #[test]
    fn without_tensorrt_there_is_a_reason() {
        // Also true on a machine that has it: nothing here loads it.
        assert!(tensorrt().unwrap_err().contains("libnvinfer.so"));
    }
}
