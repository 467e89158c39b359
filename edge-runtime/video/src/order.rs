//! Natural order of names: `frame2` before `frame10`.

use std::cmp::Ordering;

/// Compares names with runs of digits taken as numbers, so that `2.png` comes before `10.png`.
/// Names that differ only in leading zeros are ordered byte by byte, so the order is total.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    while let (Some(&p), Some(&q)) = (x.first(), y.first()) {
        let order = if p.is_ascii_digit() && q.is_ascii_digit() {
            let (m, n) = (digits(x), digits(y));
            let (number_x, number_y) = (significant(&x[..m]), significant(&y[..n]));
            x = &x[m..];
            y = &y[n..];
            // Without leading zeros the longer run is the larger number, of any length.
            number_x.len().cmp(&number_y.len()).then_with(|| number_x.cmp(number_y))
        } else {
            x = &x[1..];
            y = &y[1..];
            p.cmp(&q)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

/// Length of the run of digits that `s` begins with.
fn digits(s: &[u8]) -> usize {
    s.iter().take_while(|c| c.is_ascii_digit()).count()
}

/// A run of digits without its leading zeros.
fn significant(s: &[u8]) -> &[u8] {
    &s[s.iter().take_while(|&&c| c == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = ["10.png", "9.png", "a10b2", "a10b10", "a9", "010.png", "1.png", "a"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["1.png", "9.png", "010.png", "10.png", "a", "a9", "a10b2", "a10b10"]);
        let long = "99999999999999999999999999999999";
        assert_eq!(natural(long, "100000000000000000000000000000000"), Ordering::Less);
    }
}
