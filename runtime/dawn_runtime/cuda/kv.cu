// Keys and values that stay on the device: copies between the memory of kept keys and what a run
// of the engine returned. Elements are moved as 4-byte words; heads have an even width, so that
// two bytes an element fit as well. Every loop is strided by the block.

typedef long long i64;
typedef unsigned int u32;

// Writes fed tokens of one row of a run into slots of one row of the memory, all parts at once.
// memory [parts][rows, heads, slots, words]; sources: address of [B, heads, fed, words] by part;
// targets, chosen int64 [count]: slot and fed token of each key. Grid (parts, heads).
extern "C" __global__ void kv_write(
    u32* memory, const i64* sources, const i64* targets, const i64* chosen, i64 part_words,
    int place, int slots, int index, int fed, int count, int words) {
    const i64 heads = gridDim.y, head = blockIdx.y;
    const u32* source = (const u32*)sources[blockIdx.x] + (index * heads + head) * fed * words;
    u32* target = memory + blockIdx.x * part_words + (place * heads + head) * slots * words;
    for (i64 n = threadIdx.x; n < (i64)count * words; n += blockDim.x) {
        const i64 key = n / words, word = n % words;
        target[targets[key] * words + word] = source[chosen[key] * words + word];
    }
}

// Gathers rows of the memory into another one with a different number of slots, all parts at once.
// places int64 [rows]: where each row was; the first `kept` slots are copied.
// Grid (parts, rows * heads).
extern "C" __global__ void kv_gather(
    u32* to, const u32* from, const i64* places, i64 part_words, int heads, int to_slots,
    int from_slots, int kept, int words) {
    const i64 row = blockIdx.y / heads, head = blockIdx.y % heads;
    const u32* source =
        from + blockIdx.x * part_words + (places[row] * heads + head) * from_slots * words;
    u32* target = to + blockIdx.x * part_words + (row * heads + head) * to_slots * words;
    for (i64 n = threadIdx.x; n < (i64)kept * words; n += blockDim.x) target[n] = source[n];
}
