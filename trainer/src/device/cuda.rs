//! The GPU's memory pool, from which candle allocates. The one place that calls CUDA itself.

use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{result, sys};

use sys::CUmemPool_attribute_enum as Attribute;

/// Has the pool keep what tensors leave behind. By default it goes back to the driver whenever a value
/// is read from the GPU, several times a training step, and is asked for anew right afterwards.
pub(super) fn keep_memory(device: &CudaDevice) {
    set(device, Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX);
}

/// Free bytes, those that the pool keeps for later tensors included.
pub(super) fn free_memory(device: &CudaDevice) -> Option<u64> {
    let (free, _) = device.cuda_stream().context().mem_get_info().ok()?;
    let kept = get(device, Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = get(device, Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Some(free as u64 + kept.saturating_sub(used))
}

/// The most bytes that were in use at once.
pub(super) fn peak_memory(device: &CudaDevice) -> Option<u64> {
    get(device, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// Starts the highest use anew. CUDA takes no other value than zero for that.
pub(super) fn reset_peak_memory(device: &CudaDevice) {
    set(device, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0);
}

/// Gives back what the pool keeps, once the GPU has done what it was asked to.
pub(super) fn release_memory(device: &CudaDevice) {
    let stream = device.cuda_stream();
    let done = stream.synchronize().and_then(|()| {
        // SAFETY: the device is that of a live context, and its default pool lives as long as it does.
        unsafe {
            let pool = result::device::get_default_mem_pool(stream.context().cu_device())?;
            result::mem_pool::trim_to(pool, 0)
        }
    });
    if let Err(error) = done {
        log::debug!("the GPU's memory pool: {error}");
    }
}

/// A numeric attribute; `None` from a driver without pools.
fn get(device: &CudaDevice, attribute: Attribute) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: the device is that of a live context, its default pool lives as long as it does, and the
    // attributes that are asked for are 64-bit numbers.
    unsafe {
        let pool = result::device::get_default_mem_pool(device.cuda_stream().context().cu_device());
        result::mem_pool::get_attribute(pool.ok()?, attribute, (&raw mut value).cast()).ok()?;
    }
    Some(value)
}

/// Sets a numeric attribute. A driver without pools has none to set; training does without.
fn set(device: &CudaDevice, attribute: Attribute, mut value: u64) {
    // SAFETY: as in `get`; both attributes that are set are 64-bit numbers.
    let done = unsafe {
        result::device::get_default_mem_pool(device.cuda_stream().context().cu_device()).and_then(
            |pool| result::mem_pool::set_attribute(pool, attribute, (&raw mut value).cast()),
        )
    };
    if let Err(error) = done {
        log::debug!("the GPU's memory pool: {error}");
    }
}
