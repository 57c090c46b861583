// CUDA C++ as plain C++: enough for the kernels of dawn_runtime/cuda. A block is run by as many
// threads as `enter_grid` says, each of which calls `enter_thread` and then the kernel.
#include <pthread.h>

#include <cmath>
#include <cstring>

using std::isfinite;

struct Index { unsigned x, y, z; };
static Index blockDim = {1, 1, 1}, blockIdx = {0, 0, 0}, gridDim = {1, 1, 1};
static thread_local Index threadIdx = {0, 0, 0};
static pthread_barrier_t everyone;

#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() (blockDim.x > 1 ? (void)pthread_barrier_wait(&everyone) : (void)0)

template <typename T, typename V> static T atomicAdd(T* at, V value) {
    return __atomic_fetch_add(at, T(value), __ATOMIC_SEQ_CST);
}

template <typename T, typename V> static T atomicOr(T* at, V value) {
    return __atomic_fetch_or(at, T(value), __ATOMIC_SEQ_CST);
}

template <typename T, typename V> static T atomicMax(T* at, V value) {
    T old = __atomic_load_n(at, __ATOMIC_SEQ_CST);
    while (old < T(value) && !__atomic_compare_exchange_n(at, &old, T(value), false, 5, 5)) {}
    return old;
}

template <typename T, typename V> static T atomicMin(T* at, V value) {
    T old = __atomic_load_n(at, __ATOMIC_SEQ_CST);
    while (old > T(value) && !__atomic_compare_exchange_n(at, &old, T(value), false, 5, 5)) {}
    return old;
}

static unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

extern "C" void enter_grid(unsigned x, unsigned y, unsigned threads) {
    gridDim = {x, y, 1};
    if (blockDim.x > 1) pthread_barrier_destroy(&everyone);
    if (threads > 1) pthread_barrier_init(&everyone, nullptr, threads);
    blockDim = {threads, 1, 1};
}

extern "C" void enter_block(unsigned x, unsigned y) { blockIdx = {x, y, 0}; }

extern "C" void enter_thread(unsigned thread) { threadIdx = {thread, 0, 0}; }
