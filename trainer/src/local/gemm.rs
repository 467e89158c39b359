//! The one place where training on the CPU meets raw pointers: a checked front of the `gemm` crate.

/// A matrix lying in a slice: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub col_stride: usize,
}

/// Where a product is written: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
pub(crate) struct MatrixMut<'a> {
    pub data: &'a mut [f32],
    pub row_stride: usize,
    pub col_stride: usize,
}

/// `dst = lhs · rhs`, or `dst += lhs · rhs` if `accumulate`, on the calling thread alone, so that
/// the order of additions never depends on how many threads there are.
///
/// `lhs` is `[rows, depth]`, `rhs` `[depth, cols]`, `dst` `[rows, cols]`.
///
/// # Panics
/// If a matrix reaches past the end of its slice.
pub(crate) fn matmul(
    shape: (usize, usize, usize),
    dst: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    accumulate: bool,
) {
    product(shape, dst, lhs, rhs, accumulate, gemm::Parallelism::None);
}

/// As [`matmul`], on all threads: `gemm` gives each thread its own elements of `dst`, and cuts the sum
/// of an element by the sizes of the matrices alone.
///
/// # Panics
/// As [`matmul`].
pub(crate) fn matmul_on_all_threads(
    shape: (usize, usize, usize),
    dst: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    accumulate: bool,
) {
    let threads = gemm::Parallelism::Rayon(rayon::current_num_threads());
    product(shape, dst, lhs, rhs, accumulate, threads);
}

fn product(
    (rows, depth, cols): (usize, usize, usize),
    dst: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    accumulate: bool,
    parallelism: gemm::Parallelism,
) {
    if rows == 0 || cols == 0 {
        return;
    }
    let fits = |len: usize, i: usize, j: usize, row_stride: usize, col_stride: usize| {
        i == 0 || j == 0 || (i - 1) * row_stride + (j - 1) * col_stride < len
    };
    assert!(fits(lhs.data.len(), rows, depth, lhs.row_stride, lhs.col_stride), "lhs out of bounds");
    assert!(fits(rhs.data.len(), depth, cols, rhs.row_stride, rhs.col_stride), "rhs out of bounds");
    assert!(fits(dst.data.len(), rows, cols, dst.row_stride, dst.col_stride), "dst out of bounds");
    // The rows of dst must not lie over each other, or its elements would be written twice.
    assert!(
        dst.row_stride >= cols * dst.col_stride || dst.col_stride >= rows * dst.row_stride,
        "dst overlaps itself"
    );
    // SAFETY: the asserts above show that every element the product reads or writes lies within
    // its slice, and `dst` is borrowed exclusively, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            depth,
            dst.data.as_mut_ptr(),
            dst.col_stride as isize,
            dst.row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
