// Selection next to the engine: which candidates of a row are committed, by the rules of
// dawn_runtime/policies/dawn.py and threshold.py, on what a run of the engine left on the device.
// What the host sends of each row is a `KernelView` of dawn_runtime/policies/kernel.py.
//
// B rows of the run, R predictions, Q rows of attention and K keys of each, N the candidates of the
// row that has most. One thread block chooses for one row. Every loop is strided by the block, so
// that any number of threads gives the same answer: the same source as plain C++, run by one thread
// and by several, is what the tests compare with the rules in NumPy.
//
// Bit for bit: numbers are compared as float32, as NumPy compares float32 with a Python float.
// Column sums run over the rows in ascending order, one float32 addition each, as NumPy reduces the
// first axis; no sum is split among threads. What is found does not depend on the order in which
// threads write: within a phase a flag is only ever set, by whoever finds it, and threads that may
// find the same one set it atomically.

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;

// Columns of `views` int32 [B, 6]. COUNT is n, 0 where nothing is to be chosen here; QUERIES the
// rows of attention that are the row's own; OWN_MEANS whether key means are theirs.
enum { COUNT, QUERIES, OWN_MEANS, GRAPH, UNION, MASK, VIEW_FIELDS };

// Columns of `taus` float32 [B, 6], as in `Kernel`.
enum { TAU_SINK, TAU_EDGE, TAU_INDUCE, TAU_LOW, TAU_HIGH, TAU_ANCHOR, TAU_FIELDS };

// Columns of `candidates` int32 [B, N, 3]: which prediction, row of attention and key is that of
// each candidate. They ascend by position.
enum { PREDICTION, ROW, KEY, CANDIDATE_FIELDS };

// Values of `known` int32 [B, K] that are no number of a prediction: a key that is predicted nowhere
// or may be no anchor, and one that is padding or not looked at.
enum { NOT_PREDICTED = -1, OUTSIDE = -2 };

// Bits of the first column of `selected` int32 [B, 1 + N]: a number is not finite; the graph had an
// edge. The others are whether each candidate is chosen.
enum { NOT_FINITE = 1, LINKED = 2 };

// Bits of `flags` uint32 [B, N].
enum {
    DEPENDS = 2,     // depends on an anchor
    CHOSEN = 4,      // is committed
    DECISIVE = 8,    // whoever depends on it waits
    ADJACENT = 16,   // depends on a decisive candidate
    OPEN = 32,       // may still join the independent set
    WAITING = 64,    // conflicts with an open candidate that goes first
    JOINED = 128,    // joined in this round
    BARRED = 256,    // is predicted to be the mask, which is never committed
};

// Bits of `keys` uint8 [B, K]: attracts attention from everywhere; known and still predicted surely.
enum { SINK = 1, ANCHOR = 2 };

// Mean attention that each key draws, float32 [B, K], of the rows that have it from this run.
// attention float32 [B, Q, K]; grid (any, B).
extern "C" __global__ void key_means(
    const float* attention, const int* views, float* means, int queries, int size) {
    const i64 batch = blockIdx.y;
    const int* view = views + batch * VIEW_FIELDS;
    if (!view[OWN_MEANS]) return;
    const float* rows = attention + batch * queries * size;
    const int stride = gridDim.x * blockDim.x;
    for (int key = blockIdx.x * blockDim.x + threadIdx.x; key < size; key += stride) {
        float sum = 0.0f;
        for (int row = 0; row < view[QUERIES]; ++row) sum += rows[(i64)row * size + key];
        means[batch * size + key] = sum / (float)view[QUERIES];
    }
}

// Attention of one row of the run, read as a graph of its candidates and keys.
struct Graph {
    const float* attention;  // [Q, K]
    const int* candidates;   // [N, 3]
    const u8* keys;          // [K]
    int size;
    float tau_edge;

    __device__ bool strong(int candidate, int key) const {
        const i64 row = candidates[candidate * CANDIDATE_FIELDS + ROW];
        return attention[row * size + key] >= tau_edge && !(keys[key] & SINK);
    }

    // Whether candidate i depends on candidate j.
    __device__ bool edge(int i, int j) const {
        return i != j && strong(i, candidates[j * CANDIDATE_FIELDS + KEY]);
    }

    __device__ bool conflict(int i, int j) const { return edge(i, j) || edge(j, i); }
};

// Most confident first, the lowest position on ties.
__device__ static bool precedes(const float* confidence, int i, int j) {
    return confidence[i] > confidence[j] || (confidence[i] == confidence[j] && i < j);
}

// Finds sinks and anchors among the keys. Returns whether a number that the rule reads of the
// attention is NaN or infinite, the same in all threads; means see all rows that they are of.
__device__ static bool read_keys(
    const float* attention, const float* confidence, const int* view, const float* tau,
    const int* known, const float* earlier, const float* means, int size, u8* keys) {
    __shared__ int bad;
    if (threadIdx.x == 0) bad = 0;
    __syncthreads();
    for (int key = threadIdx.x; key < size; key += blockDim.x) {
        keys[key] = 0;
        if (known[key] == OUTSIDE) continue;
        if (!isfinite(means[key])) atomicOr(&bad, 1);
        const float score = known[key] >= 0 ? confidence[known[key]] : earlier[key];
        if (means[key] > tau[TAU_SINK]) keys[key] |= SINK;
        if (score >= tau[TAU_ANCHOR]) keys[key] |= ANCHOR;
    }
    if (!view[OWN_MEANS])
        for (i64 n = threadIdx.x; n < (i64)view[QUERIES] * size; n += blockDim.x)
            if (known[n % size] != OUTSIDE && !isfinite(attention[n])) atomicOr(&bad, 1);
    __syncthreads();
    const bool found = bad;
    __syncthreads();
    return found;
}

// Flags the candidates that depend on an anchor.
__device__ static void find_induced(const Graph& graph, int count, u32* flags) {
    for (i64 pair = threadIdx.x; pair < (i64)count * graph.size; pair += blockDim.x) {
        const int candidate = pair / graph.size, key = pair % graph.size;
        if ((graph.keys[key] & ANCHOR) && graph.strong(candidate, key))
            atomicOr(&flags[candidate], DEPENDS);
    }
    __syncthreads();
}

// Whether a candidate depends on an anchor or on another one, the same in all threads.
__device__ static bool find_links(const Graph& graph, int count, const u32* flags) {
    __shared__ int linked;
    if (threadIdx.x == 0) linked = 0;
    __syncthreads();
    for (i64 pair = threadIdx.x; pair < (i64)count * count; pair += blockDim.x) {
        const int one = pair / count, other = pair % count;
        if ((flags[one] & DEPENDS) || graph.edge(one, other)) atomicOr(&linked, 1);
    }
    __syncthreads();
    const bool found = linked;
    __syncthreads();
    return found;
}

// Flags the candidates that depend on a decisive one.
__device__ static void find_adjacent(const Graph& graph, int count, u32* flags) {
    for (i64 pair = threadIdx.x; pair < (i64)count * count; pair += blockDim.x) {
        const int one = pair / count, other = pair % count;
        if ((flags[other] & DECISIVE) && graph.edge(one, other)) atomicOr(&flags[one], ADJACENT);
    }
    __syncthreads();
}

// Chooses the independent set among the open candidates. A candidate joins when no open one in
// conflict with it goes first; its neighbours leave. Round by round that is the set which the
// greedy pass in order of confidence finds.
__device__ static void find_independent(
    const Graph& graph, const float* confidence, int count, u32* flags) {
    __shared__ int open;
    do {
        for (i64 pair = threadIdx.x; pair < (i64)count * count; pair += blockDim.x) {
            const int one = pair / count, other = pair % count;
            if ((flags[one] & OPEN) && (flags[other] & OPEN) && precedes(confidence, other, one) &&
                graph.conflict(one, other))
                atomicOr(&flags[one], WAITING);
        }
        __syncthreads();
        if (threadIdx.x == 0) open = 0;
        for (int n = threadIdx.x; n < count; n += blockDim.x) {
            u32& flag = flags[n];
            if ((flag & OPEN) && !(flag & WAITING)) flag = (flag & ~OPEN) | CHOSEN | JOINED;
            flag &= ~WAITING;
        }
        __syncthreads();
        for (i64 pair = threadIdx.x; pair < (i64)count * count; pair += blockDim.x) {
            const int one = pair / count, other = pair % count;
            if ((flags[one] & OPEN) && (flags[other] & JOINED) && graph.conflict(one, other))
                atomicOr(&flags[one], ADJACENT);
        }
        __syncthreads();
        for (int n = threadIdx.x; n < count; n += blockDim.x) {
            u32& flag = flags[n];
            flag &= flag & ADJACENT ? ~(JOINED | OPEN) : ~JOINED;
            if (flag & OPEN) atomicAdd(&open, 1);
        }
        __syncthreads();
    } while (open > 0);
}

// The independent set of DAWN and what comes before it; `union_` as in Dawn.adjacency. Returns
// whether the graph had an edge, the same in all threads.
__device__ static bool choose_by_graph(
    const Graph& graph, const float* confidence, int count, u32* flags, int union_,
    const float* tau) {
    find_induced(graph, count, flags);
    const bool linked = find_links(graph, count, flags);
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        const bool sure = flags[n] & CHOSEN;
        const bool induced = (flags[n] & DEPENDS) && confidence[n] >= tau[TAU_INDUCE];
        if (induced) flags[n] |= CHOSEN;
        if (union_ ? sure || induced : sure && induced) flags[n] |= DECISIVE;
    }
    __syncthreads();
    find_adjacent(graph, count, flags);
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        u32& flag = flags[n];
        if (!(flag & (CHOSEN | ADJACENT)) && confidence[n] >= tau[TAU_LOW]) flag |= OPEN;
        flag &= ~ADJACENT;
    }
    __syncthreads();
    find_independent(graph, confidence, count, flags);
    return linked;
}

// Takes back what is predicted to be the mask. Flags the most confident other candidate, the lowest
// position on ties, unless something is chosen; there is one. Confidence is not negative, so its
// bits compare as the number does.
__device__ static void choose_at_least_one(const float* confidence, int count, u32* flags) {
    __shared__ u64 best;
    __shared__ int chosen;
    if (threadIdx.x == 0) best = chosen = 0;
    __syncthreads();
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        if (flags[n] & BARRED) {
            flags[n] &= ~CHOSEN;
            continue;
        }
        const u64 weight = __float_as_uint(confidence[n]);
        if (flags[n] & CHOSEN) atomicAdd(&chosen, 1);
        atomicMax(&best, weight << 32 | (0xffffffffu - (u32)n));
    }
    __syncthreads();
    if (threadIdx.x == 0 && chosen == 0) flags[0xffffffffu - (u32)(best & 0xffffffffu)] |= CHOSEN;
    __syncthreads();
}

// Chooses for every row. tokens int64 and confidence float32 [B, R], attention float32 [B, Q, K] of
// the run; known int32, earlier and means float32 [B, K], not read by a rule without a graph.
// Scratch: flags uint32 and scores float32 [B, N], keys uint8 [B, K]. A row at whose candidates
// nothing but the mask is predicted gets none chosen, for want of the next best token. Grid (B).
extern "C" __global__ void choose(
    const i64* tokens, const float* confidence, const float* attention, const int* views,
    const float* taus, const int* candidates, const int* known, const float* earlier,
    const float* means, u32* flags, float* scores, u8* keys, int* selected, int predictions,
    int queries, int size, int most) {
    __shared__ int open;
    const i64 batch = blockIdx.x;
    const int* view = views + batch * VIEW_FIELDS;
    const float* tau = taus + batch * TAU_FIELDS;
    const int count = view[COUNT];
    tokens += batch * predictions, confidence += batch * predictions;
    attention += batch * queries * size, candidates += batch * most * CANDIDATE_FIELDS;
    known += batch * size, earlier += batch * size, means += batch * size, keys += batch * size;
    flags += batch * most, scores += batch * most, selected += batch * (1 + most);
    const bool bad = view[GRAPH] && read_keys(attention, confidence, view, tau, known, earlier,
                                              means, size, keys);
    if (threadIdx.x == 0) open = 0, selected[0] = bad ? NOT_FINITE : 0;
    __syncthreads();
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        const int prediction = candidates[n * CANDIDATE_FIELDS + PREDICTION];
        const bool barred = tokens[prediction] == view[MASK];
        scores[n] = barred ? 0.0f : confidence[prediction];
        flags[n] = (barred ? BARRED : 0) | (scores[n] >= tau[TAU_HIGH] ? CHOSEN : 0);
        if (!barred) atomicOr(&open, 1);
    }
    __syncthreads();
    const bool any = open && !bad;
    __syncthreads();
    if (any) {
        if (view[GRAPH]) {
            const Graph graph = {attention, candidates, keys, size, tau[TAU_EDGE]};
            const bool linked = choose_by_graph(graph, scores, count, flags, view[UNION], tau);
            if (threadIdx.x == 0 && linked) selected[0] |= LINKED;
        }
        choose_at_least_one(scores, count, flags);
    }
    for (int n = threadIdx.x; n < count; n += blockDim.x)
        selected[1 + n] = any && (flags[n] & CHOSEN);
}
