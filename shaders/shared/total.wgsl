// Sum and maximum over the LANES invocations of a workgroup; every invocation calls them and gets the result. By eights,
// which are halves of halves of halves, as a barrier costs more than what it parts.

var<workgroup> shares: array<f32, LANES>;

fn total(lane: u32, share: f32) -> f32 {
    shares[lane] = share;
    workgroupBarrier();
    var left = LANES;
    for (; left >= 8u; left /= 8u) {
        let part = left / 8u;
        if (lane < part) {
            let low = (shares[lane] + shares[lane + 4u * part]) + (shares[lane + 2u * part] + shares[lane + 6u * part]);
            let high = (shares[lane + part] + shares[lane + 5u * part])
                + (shares[lane + 3u * part] + shares[lane + 7u * part]);
            shares[lane] = low + high;
        }
        workgroupBarrier();
    }
    var result = shares[0];
    if (left == 2u) {
        result += shares[1];
    } else if (left == 4u) {
        result = (result + shares[2]) + (shares[1] + shares[3]);
    }
    workgroupBarrier();
    return result;
}

fn largest(lane: u32, share: f32) -> f32 {
    shares[lane] = share;
    workgroupBarrier();
    var left = LANES;
    for (; left >= 8u; left /= 8u) {
        let part = left / 8u;
        if (lane < part) {
            var most = shares[lane];
            for (var k = 1u; k < 8u; k += 1u) {
                most = max(most, shares[lane + k * part]);
            }
            shares[lane] = most;
        }
        workgroupBarrier();
    }
    var result = shares[0];
    for (var k = 1u; k < left; k += 1u) {
        result = max(result, shares[k]);
    }
    workgroupBarrier();
    return result;
}
