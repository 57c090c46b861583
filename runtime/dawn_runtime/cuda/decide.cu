// Selection next to the engine: which undecided positions of a row are committed, by the rules of
// dawn_runtime/policies/dawn.py and threshold.py, and the commit itself.
//
// One thread block decides one row of the batch. Every loop is strided by the block, so that any
// number of threads gives the same answer: the same source as plain C++, run by one thread and by
// several, is what the tests compare with the rules in NumPy.
//
// Bit for bit: numbers are compared as float32, as NumPy compares float32 with a Python float.
// Column sums run over the rows in ascending order, one float32 addition each, as NumPy reduces the
// first axis; no sum is split among threads. What is found does not depend on the order in which
// threads write: within a phase a flag is only ever set, by whoever finds it, and threads that may
// find the same one set it atomically.
//
// Where a row holds NaN or infinity, every block sees it and leaves its own row alone. A row that is
// stuck stays as it is and the others advance.

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;

// Columns of `spans` int32 [B, 7]: what the host says of each row of the batch. WIDTH is R, the same
// for all: what changes from block to block stands here, so that a recorded launch can be repeated.
enum { ROW, LENGTH, START, BEGIN, END, FIRST, WIDTH, SPAN_FIELDS };

// Columns of `taus` float32 [B, 2]: thresholds of attention, which the host has scaled to the length
// of each row by Dawn.attention_thresholds.
enum { TAU_SINK, TAU_EDGE, TAU_FIELDS };

// Columns of `status` int32 [B, 4]: all that the host reads after a step.
enum { SETTLED, END_AT, KNOWN, FAULT, STATUS_FIELDS };

// Values of FAULT: what of a row holds NaN or infinity; or that nothing but the mask is predicted at
// its candidates, so that the next best token is needed, which only logits tell.
enum { NO_FAULT, CONFIDENCE, ATTENTION, STUCK };

// Bits of `flags` uint32 [B, L].
enum {
    ANCHOR = 1,      // known, before the window's end, and still predicted surely
    DEPENDS = 2,     // depends on an anchor
    CHOSEN = 4,      // is committed
    DECISIVE = 8,    // whoever depends on it waits
    ADJACENT = 16,   // depends on a decisive position
    OPEN = 32,       // may still join the independent set
    WAITING = 64,    // conflicts with an open candidate that goes first
    JOINED = 128,    // joined in this round
    BARRED = 256,    // is predicted to be the mask, which is never committed
};

// Values of `sinks` uint8 [B, S].
enum { NO_SINK, SINK, NOT_FINITE };

// Marks the keys that attract attention from everywhere: mean over the rows above tau_sink.
// attention float32 [B, S, S]; grid (any, B).
extern "C" __global__ void find_sinks(
    const float* attention, const int* spans, const float* taus, u8* sinks, int size) {
    const int batch = blockIdx.y;
    const int length = spans[batch * SPAN_FIELDS + LENGTH];
    const float tau_sink = taus[batch * TAU_FIELDS + TAU_SINK];
    const float* rows = attention + (i64)batch * size * size;
    const int stride = gridDim.x * blockDim.x;
    for (int key = blockIdx.x * blockDim.x + threadIdx.x; key < length; key += stride) {
        float sum = 0.0f;
        for (int row = 0; row < length; ++row) sum += rows[(i64)row * size + key];
        const float mean = sum / (float)length;
        sinks[(i64)batch * size + key] = !isfinite(sum) ? NOT_FINITE : mean > tau_sink ? SINK : NO_SINK;
    }
}

// Attention of one row of the batch, read as a graph.
struct Graph {
    const float* attention;  // [S, S]
    const u8* sinks;         // [S]
    int size;
    float tau_edge;

    // Whether position i depends on position j.
    __device__ bool edge(int i, int j) const {
        return i != j && attention[(i64)i * size + j] >= tau_edge && sinks[j] == NO_SINK;
    }

    __device__ bool conflict(int i, int j) const { return edge(i, j) || edge(j, i); }
};

// Most confident first, the lowest position on ties.
__device__ static bool precedes(const float* confidence, int i, int j) {
    return confidence[i] > confidence[j] || (confidence[i] == confidence[j] && i < j);
}

// Flags the candidates that depend on an anchor before the window's end.
__device__ static void find_induced(
    const Graph& graph, const int* candidates, int count, int end, u32* flags) {
    for (i64 pair = threadIdx.x; pair < (i64)count * end; pair += blockDim.x) {
        const int candidate = candidates[pair / end], key = pair % end;
        if ((flags[key] & ANCHOR) && graph.edge(candidate, key))
            atomicOr(&flags[candidate], DEPENDS);
    }
    __syncthreads();
}

// Flags the candidates that depend on a decisive one.
__device__ static void find_adjacent(
    const Graph& graph, const int* candidates, int count, u32* flags) {
    for (i64 pair = threadIdx.x; pair < (i64)count * count; pair += blockDim.x) {
        const int one = candidates[pair / count], other = candidates[pair % count];
        if ((flags[other] & DECISIVE) && graph.edge(one, other)) atomicOr(&flags[one], ADJACENT);
    }
    __syncthreads();
}

// Chooses the independent set among the open candidates. A candidate joins when no open one in
// conflict with it goes first; its neighbours leave. Round by round that is the set which the
// greedy pass in order of confidence finds.
__device__ static void find_independent(
    const Graph& graph, const float* confidence, const int* candidates, int count, u32* flags) {
    __shared__ int open;
    do {
        for (i64 pair = threadIdx.x; pair < (i64)count * count; pair += blockDim.x) {
            const int one = candidates[pair / count], other = candidates[pair % count];
            if ((flags[one] & OPEN) && (flags[other] & OPEN) && precedes(confidence, other, one) &&
                graph.conflict(one, other))
                atomicOr(&flags[one], WAITING);
        }
        __syncthreads();
        if (threadIdx.x == 0) open = 0;
        for (int n = threadIdx.x; n < count; n += blockDim.x) {
            u32& flag = flags[candidates[n]];
            if ((flag & OPEN) && !(flag & WAITING)) flag = (flag & ~OPEN) | CHOSEN | JOINED;
            flag &= ~WAITING;
        }
        __syncthreads();
        for (i64 pair = threadIdx.x; pair < (i64)count * count; pair += blockDim.x) {
            const int one = candidates[pair / count], other = candidates[pair % count];
            if ((flags[one] & OPEN) && (flags[other] & JOINED) && graph.conflict(one, other))
                atomicOr(&flags[one], ADJACENT);
        }
        __syncthreads();
        for (int n = threadIdx.x; n < count; n += blockDim.x) {
            u32& flag = flags[candidates[n]];
            flag &= flag & ADJACENT ? ~(JOINED | OPEN) : ~JOINED;
            if (flag & OPEN) atomicAdd(&open, 1);
        }
        __syncthreads();
    } while (open > 0);
}

// The independent set of DAWN and what comes before it; `union_` as in Dawn.adjacency.
__device__ static void choose_by_graph(
    const Graph& graph, const float* confidence, const int* candidates, int count, int end,
    u32* flags, int union_, float tau_induce, float tau_low) {
    find_induced(graph, candidates, count, end, flags);
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        const int position = candidates[n];
        const bool sure = flags[position] & CHOSEN;
        const bool induced = (flags[position] & DEPENDS) && confidence[position] >= tau_induce;
        if (induced) flags[position] |= CHOSEN;
        if (union_ ? sure || induced : sure && induced) flags[position] |= DECISIVE;
    }
    __syncthreads();
    find_adjacent(graph, candidates, count, flags);
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        u32& flag = flags[candidates[n]];
        if (!(flag & (CHOSEN | ADJACENT)) && confidence[candidates[n]] >= tau_low) flag |= OPEN;
        flag &= ~ADJACENT;
    }
    __syncthreads();
    find_independent(graph, confidence, candidates, count, flags);
}

// Takes back what is predicted to be the mask. Flags the most confident other candidate, the lowest
// position on ties, unless something is chosen. Confidence is not negative, so its bits compare as
// the number does.
__device__ static void choose_at_least_one(
    const float* confidence, const int* candidates, int count, u32* flags) {
    __shared__ u64 best;
    __shared__ int chosen;
    if (threadIdx.x == 0) best = chosen = 0;
    __syncthreads();
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        const u32 position = candidates[n];
        if (flags[position] & BARRED) {
            flags[position] &= ~CHOSEN;
            continue;
        }
        const u64 weight = __float_as_uint(confidence[position]);
        if (flags[position] & CHOSEN) atomicAdd(&chosen, 1);
        atomicMax(&best, weight << 32 | (0xffffffffu - position));
    }
    __syncthreads();
    if (threadIdx.x == 0 && chosen == 0 && count > 0)
        flags[0xffffffffu - (u32)(best & 0xffffffffu)] |= CHOSEN;
    __syncthreads();
}

// What a row looks like after the step: first undecided position, first end token before it,
// number of decided positions of the answer.
__device__ static void report(
    const i64* ids, const u8* masked, int start, int length, const i64* end_tokens,
    int end_count, int* status) {
    __shared__ int settled, end_at, known;
    if (threadIdx.x == 0) settled = end_at = length, known = 0;
    __syncthreads();
    for (int p = threadIdx.x; p < length; p += blockDim.x) {
        if (masked[p]) atomicMin(&settled, p);
        else if (p >= start) atomicAdd(&known, 1);
    }
    __syncthreads();
    for (int p = start + threadIdx.x; p < settled; p += blockDim.x)
        for (int n = 0; n < end_count; ++n)
            if (ids[p] == end_tokens[n]) atomicMin(&end_at, p);
    __syncthreads();
    if (threadIdx.x == 0) {
        status[SETTLED] = settled;
        status[END_AT] = end_at;
        status[KNOWN] = known;
        status[FAULT] = NO_FAULT;
    }
}

// What of one row of the batch holds NaN or infinity, the same in all threads. Only what no block
// writes is looked at; sinks, which see the attention, if the rule reads it.
__device__ static int find_fault(
    const float* confidence, const u8* sinks, const int* span, int graph_rule) {
    __shared__ int fault;
    if (threadIdx.x == 0) fault = NO_FAULT;
    __syncthreads();
    for (int n = threadIdx.x; n < span[END] - span[FIRST]; n += blockDim.x)
        if (!isfinite(confidence[n])) atomicMax(&fault, CONFIDENCE);
    for (int p = threadIdx.x; graph_rule && p < span[LENGTH]; p += blockDim.x)
        if (sinks[p] == NOT_FINITE) atomicMax(&fault, ATTENTION);
    __syncthreads();
    const int found = fault;
    __syncthreads();
    return found;
}

// One step of every row: predictions tokens int64 and confidence float32 [B, R], of positions
// FIRST .. END - 1; attention float32 [B, S, S], its sinks and taus, not read if `graph_rule` is 0.
// State of all N rows: ids int64, masked uint8, commit_step int32, commit_confidence float32
// [N, L]; steps int32 [N]. input_ids int64 [B, S] gets the new tokens too. Scratch: flags uint32,
// positions int32, scores float32 [B, L]. tau_high is the threshold of the plain rule. Grid (B).
extern "C" __global__ void decide(
    const i64* tokens, const float* confidence, const float* attention, const u8* sinks,
    const int* spans, const float* taus, i64* ids, u8* masked, int* commit_step,
    float* commit_confidence, int* steps, i64* input_ids, u32* flags, int* positions, float* scores,
    const i64* end_tokens, int* status, i64 mask_id, int length, int size, int end_count,
    int graph_rule, int union_, float tau_induce, float tau_low, float tau_high,
    float tau_anchor) {
    __shared__ int count, open;
    const int batch = blockIdx.x;
    int fault = NO_FAULT, faults = NO_FAULT;
    for (int other = 0; other < (int)gridDim.x; ++other) {
        const int* span = spans + other * SPAN_FIELDS;
        const int found = find_fault(
            confidence + (i64)other * span[WIDTH], sinks + (i64)other * size, span, graph_rule);
        faults |= found;
        if (other == batch) fault = found;
    }
    status += batch * STATUS_FIELDS;
    if (faults) {
        if (threadIdx.x == 0) status[FAULT] = fault;
        return;
    }

    const int* span = spans + batch * SPAN_FIELDS;
    const i64 row = (i64)span[ROW] * length;
    ids += row, masked += row, commit_step += row, commit_confidence += row;
    tokens += (i64)batch * span[WIDTH], confidence += (i64)batch * span[WIDTH];
    attention += (i64)batch * size * size, sinks += (i64)batch * size;
    input_ids += (i64)batch * size;
    flags += (i64)batch * length, positions += (i64)batch * length, scores += (i64)batch * length;
    if (threadIdx.x == 0) count = open = 0;
    __syncthreads();
    for (int p = span[FIRST] + threadIdx.x; p < span[END]; p += blockDim.x) {
        const bool barred = masked[p] && tokens[p - span[FIRST]] == mask_id;
        const float score = barred ? 0.0f : confidence[p - span[FIRST]];
        scores[p] = score;
        flags[p] = barred ? BARRED : !masked[p] && score >= tau_anchor ? ANCHOR : 0;
        if (masked[p] && p >= span[BEGIN]) {
            positions[atomicAdd(&count, 1)] = p;
            if (score >= tau_high) flags[p] |= CHOSEN;
            if (!barred) atomicOr(&open, 1);
        }
    }
    __syncthreads();
    if (!open) {
        if (threadIdx.x == 0) status[FAULT] = STUCK;
        return;
    }

    if (graph_rule) {
        const Graph graph = {attention, sinks, size, taus[batch * TAU_FIELDS + TAU_EDGE]};
        choose_by_graph(graph, scores, positions, count, span[END], flags, union_, tau_induce,
                        tau_low);
    }
    choose_at_least_one(scores, positions, count, flags);
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        const int p = positions[n];
        if (!(flags[p] & CHOSEN)) continue;
        ids[p] = input_ids[p] = tokens[p - span[FIRST]];
        masked[p] = 0;
        commit_step[p] = steps[span[ROW]];
        commit_confidence[p] = scores[p];
    }
    __syncthreads();
    if (threadIdx.x == 0) steps[span[ROW]] += 1;
    report(ids, masked, span[START], span[LENGTH], end_tokens, end_count, status);
}

// Inputs of a full pass over the rows in `spans`, padded to `size`: contract of the step graph.
// Only these change with the rows and their windows; the tokens are written by `decide`. Grid (B).
extern "C" __global__ void lay_out(
    const int* spans, const i64* ids, i64* input_ids, i64* position_ids, u8* attention_mask,
    i64* logit_rows, i64* attention_rows, i64 filler, int length, int size, int evidence,
    int shift) {
    const i64 batch = blockIdx.x;
    const int* span = spans + batch * SPAN_FIELDS;
    ids += (i64)span[ROW] * length;
    for (int p = threadIdx.x; p < size; p += blockDim.x) {
        input_ids[batch * size + p] = p < span[LENGTH] ? ids[p] : filler;
        position_ids[batch * size + p] = p < span[LENGTH] ? p : 0;
    }
    for (i64 n = threadIdx.x; n < (i64)size * size; n += blockDim.x)
        attention_mask[batch * size * size + n] = n % size < span[LENGTH];
    for (int n = threadIdx.x; n < span[WIDTH]; n += blockDim.x) {
        const int position = span[FIRST] + n;
        const bool wanted = position < span[END] && position >= shift;
        logit_rows[batch * span[WIDTH] + n] = wanted ? position - shift : 0;
    }
    for (int n = threadIdx.x; n < evidence; n += blockDim.x)
        attention_rows[batch * evidence + n] = n < span[LENGTH] ? n : 0;
}
