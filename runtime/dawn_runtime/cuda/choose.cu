// Selection next to the engine: which candidates of a row are committed, by the rules of
// dawn_runtime/policies/dawn.py and threshold.py, on what a run of the engine left on the device.
// What the host sends of each row is a `KernelView` of dawn_runtime/policies/kernel.py.
//
// B rows of the run, R predictions, Q rows of attention and K keys of each, N the candidates of the
// row that has most. One thread block chooses for one row. Every loop is strided by the block, so
// that any number of threads gives the same answer: the same source as plain C++, run by 1 to 256
// threads, is what the tests compare with the rules in NumPy. Every barrier is needed: without it
// they find a race.
//
// Bit for bit: numbers are compared as float32, as NumPy compares float32 with a Python float.
// Column sums run over the rows in ascending order, one float32 addition each, as NumPy reduces the
// first axis; no sum is split among threads. What is found does not depend on the order in which
// threads write: within a phase, from one barrier to the next, nothing that others read is written,
// and what several threads may find is only ever set, atomically, as a mark. Flags change between
// the phases, each by one thread.

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
    CHOSEN = 1,      // is committed
    DECISIVE = 2,    // whoever depends on it waits
    OPEN = 4,        // may still join the independent set
    JOINED = 8,      // joined in this round
    BARRED = 16,     // is predicted to be the mask, which is never committed
};

// Bits of `keys` uint8 [B, K]: attracts attention from everywhere; known and still predicted surely.
enum { SINK = 1, ANCHOR = 2 };

// Rows that a thread of `key_means` asks for before it adds any: memory answers all of them in the
// time of one.
enum { AHEAD = 16 };

// Mean attention that each key draws, float32 [B, K], of the rows that have it from this run.
// attention float32 [B, Q, K]; grid (any, B).
extern "C" __global__ void key_means(
    const float* attention, const int* views, float* means, int queries, int size) {
    const i64 batch = blockIdx.y;
    const int* view = views + batch * VIEW_FIELDS;
    if (!view[OWN_MEANS]) return;
    const int stride = gridDim.x * blockDim.x, count = view[QUERIES];
    for (int key = blockIdx.x * blockDim.x + threadIdx.x; key < size; key += stride) {
        const float* column = attention + batch * queries * size + key;
        float sum = 0.0f;
        int row = 0;
        for (; row + AHEAD <= count; row += AHEAD) {
            float asked[AHEAD];
            for (int n = 0; n < AHEAD; ++n) asked[n] = column[(i64)(row + n) * size];
            for (int n = 0; n < AHEAD; ++n) sum += asked[n];
        }
        for (; row < count; ++row) sum += column[(i64)row * size];
        means[batch * size + key] = sum / (float)count;
    }
}

// A block as teams of threads, so that who looks at which pair needs no division, and neighbours
// read neighbours. Threads beyond the last whole team have nothing to do.
struct Team {
    int first, teams;  // the first candidate of this team, and how far on the next one is
    int lane, lanes;   // the same for what a thread looks at beside it
};

__device__ static Team team() {
    const int lanes = blockDim.x < 32 ? blockDim.x : 32, teams = blockDim.x / lanes;
    const int number = threadIdx.x / lanes;
    return {number < teams ? number : 0x7fffffff, teams, (int)threadIdx.x % lanes, lanes};
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
    if (!view[OWN_MEANS]) {
        const Team own = team();
        for (int row = own.first; row < view[QUERIES]; row += own.teams)
            for (int key = own.lane; key < size; key += own.lanes)
                if (known[key] != OUTSIDE && !isfinite(attention[(i64)row * size + key]))
                    atomicOr(&bad, 1);
    }
    __syncthreads();
    return bad;
}

// Marks the candidates that depend on an anchor. Behind it a barrier is due, as in `find_links`.
__device__ static void find_induced(const Graph& graph, int count, u32* marks) {
    const Team own = team();
    for (int one = own.first; one < count; one += own.teams) {
        bool found = false;
        for (int key = own.lane; key < graph.size && !found; key += own.lanes)
            found = (graph.keys[key] & ANCHOR) && graph.strong(one, key);
        if (found) atomicOr(&marks[one], 1u);
    }
}

// Whether a candidate is marked or depends on another one, the same in all threads.
__device__ static bool find_links(const Graph& graph, int count, const u32* marks) {
    __shared__ int linked;
    if (threadIdx.x == 0) linked = 0;
    __syncthreads();
    const Team own = team();
    for (int one = own.first; one < count; one += own.teams) {
        bool found = marks[one];
        for (int other = own.lane; other < count && !found; other += own.lanes)
            found = graph.edge(one, other);
        if (found) atomicOr(&linked, 1);
    }
    __syncthreads();
    return linked;
}

// Marks the candidates that depend on a decisive one.
__device__ static void find_adjacent(
    const Graph& graph, int count, const u32* flags, u32* marks) {
    const Team own = team();
    for (int one = own.first; one < count; one += own.teams) {
        bool found = false;
        for (int other = own.lane; other < count && !found; other += own.lanes)
            found = (flags[other] & DECISIVE) && graph.edge(one, other);
        if (found) atomicOr(&marks[one], 1u);
    }
    __syncthreads();
}

// Marks the open candidates in conflict with an open one that goes first.
__device__ static void find_waiting(
    const Graph& graph, const float* confidence, int count, const u32* flags, u32* marks) {
    const Team own = team();
    for (int one = own.first; one < count; one += own.teams) {
        bool found = false;
        for (int other = own.lane; other < count && !found; other += own.lanes)
            found = (flags[one] & flags[other] & OPEN) && precedes(confidence, other, one) &&
                    graph.conflict(one, other);
        if (found) atomicOr(&marks[one], 1u);
    }
    __syncthreads();
}

// Marks the open candidates in conflict with one that has just joined.
__device__ static void find_beaten(
    const Graph& graph, int count, const u32* flags, u32* marks) {
    const Team own = team();
    for (int one = own.first; one < count; one += own.teams) {
        bool found = false;
        for (int other = own.lane; other < count && !found; other += own.lanes)
            found = (flags[one] & OPEN) && (flags[other] & JOINED) && graph.conflict(one, other);
        if (found) atomicOr(&marks[one], 1u);
    }
    __syncthreads();
}

// Chooses the independent set among the open candidates. A candidate joins when no open one in
// conflict with it goes first; its neighbours leave. Round by round that is the set which the
// greedy pass in order of confidence finds.
__device__ static void find_independent(
    const Graph& graph, const float* confidence, int count, u32* flags, u32* marks) {
    __shared__ int open;
    do {
        find_waiting(graph, confidence, count, flags, marks);
        if (threadIdx.x == 0) open = 0;
        for (int n = threadIdx.x; n < count; n += blockDim.x) {
            if ((flags[n] & OPEN) && !marks[n]) flags[n] = (flags[n] & ~OPEN) | CHOSEN | JOINED;
            marks[n] = 0;
        }
        __syncthreads();
        find_beaten(graph, count, flags, marks);
        for (int n = threadIdx.x; n < count; n += blockDim.x) {
            flags[n] &= marks[n] ? ~(JOINED | OPEN) : ~JOINED;
            marks[n] = 0;
            if (flags[n] & OPEN) atomicAdd(&open, 1);
        }
        __syncthreads();
    } while (open > 0);
}

// The independent set of DAWN and what comes before it; `union_` as in Dawn.adjacency. Returns
// whether the graph had an edge, the same in all threads.
__device__ static bool choose_by_graph(
    const Graph& graph, const float* confidence, int count, u32* flags, u32* marks, int union_,
    const float* tau) {
    find_induced(graph, count, marks);
    const bool linked = find_links(graph, count, marks);
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        const bool sure = flags[n] & CHOSEN;
        const bool induced = marks[n] && confidence[n] >= tau[TAU_INDUCE];
        if (induced) flags[n] |= CHOSEN;
        if (union_ ? sure || induced : sure && induced) flags[n] |= DECISIVE;
        marks[n] = 0;
    }
    __syncthreads();
    find_adjacent(graph, count, flags, marks);
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        if (!(flags[n] & CHOSEN) && !marks[n] && confidence[n] >= tau[TAU_LOW]) flags[n] |= OPEN;
        marks[n] = 0;
    }
    __syncthreads();
    find_independent(graph, confidence, count, flags, marks);
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
// Scratch: flags and marks uint32 and scores float32 [B, N], keys uint8 [B, K]. A row at whose candidates
// nothing but the mask is predicted gets none chosen, for want of the next best token. Grid (B).
extern "C" __global__ void choose(
    const i64* tokens, const float* confidence, const float* attention, const int* views,
    const float* taus, const int* candidates, const int* known, const float* earlier,
    const float* means, u32* flags, u32* marks, float* scores, u8* keys, int* selected,
    int predictions, int queries, int size, int most) {
    __shared__ int open;
    const i64 batch = blockIdx.x;
    const int* view = views + batch * VIEW_FIELDS;
    const float* tau = taus + batch * TAU_FIELDS;
    const int count = view[COUNT];
    tokens += batch * predictions, confidence += batch * predictions;
    attention += batch * queries * size, candidates += batch * most * CANDIDATE_FIELDS;
    known += batch * size, earlier += batch * size, means += batch * size, keys += batch * size;
    flags += batch * most, marks += batch * most, scores += batch * most;
    selected += batch * (1 + most);
    const bool bad = view[GRAPH] && read_keys(attention, confidence, view, tau, known, earlier,
                                              means, size, keys);
    if (threadIdx.x == 0) open = 0, selected[0] = bad ? NOT_FINITE : 0;
    __syncthreads();
    for (int n = threadIdx.x; n < count; n += blockDim.x) {
        const int prediction = candidates[n * CANDIDATE_FIELDS + PREDICTION];
        const bool barred = tokens[prediction] == view[MASK];
        scores[n] = barred ? 0.0f : confidence[prediction];
        flags[n] = (barred ? BARRED : 0) | (scores[n] >= tau[TAU_HIGH] ? CHOSEN : 0);
        marks[n] = 0;
        if (!barred) atomicOr(&open, 1);
    }
    __syncthreads();
    const bool any = open && !bad;
    if (any) {
        if (view[GRAPH]) {
            const Graph graph = {attention, candidates, keys, size, tau[TAU_EDGE]};
            const bool linked =
                choose_by_graph(graph, scores, count, flags, marks, view[UNION], tau);
            if (threadIdx.x == 0 && linked) selected[0] |= LINKED;
        }
        choose_at_least_one(scores, count, flags);
    }
    for (int n = threadIdx.x; n < count; n += blockDim.x)
        selected[1 + n] = any && (flags[n] & CHOSEN);
}
