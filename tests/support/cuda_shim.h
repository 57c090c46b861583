// CUDA C++ as plain C++: enough for the kernels of dawn_runtime/cuda.
//
// Unless BARRIER is defined a block is one thread, for which barriers mean nothing. It gets the
// number of the barrier: that of the place in the source, counted over the translation unit.
#include <cmath>
#include <cstring>

using std::isfinite;

struct Index { unsigned x, y, z; };
static Index blockDim = {1, 1, 1}, blockIdx = {0, 0, 0}, gridDim = {1, 1, 1};
static thread_local Index threadIdx = {0, 0, 0};

#define __global__
#define __device__
#define __shared__ __attribute__((section("shared_memory"))) static
#ifndef BARRIER
#define BARRIER(number) ((void)(number))
#endif
#define __syncthreads() BARRIER(__COUNTER__)

template <typename T, typename V> static T atomicAdd(T* at, V value) {
    return __atomic_fetch_add(at, T(value), __ATOMIC_RELAXED);
}

template <typename T, typename V> static T atomicOr(T* at, V value) {
    return __atomic_fetch_or(at, T(value), __ATOMIC_RELAXED);
}

template <typename T, typename V> static T atomicMax(T* at, V value) {
    T old = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (old < T(value) && !__atomic_compare_exchange_n(at, &old, T(value), false, 0, 0)) {}
    return old;
}

static unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

extern "C" void enter_block(unsigned width, unsigned height, unsigned x, unsigned y) {
    gridDim = {width, height, 1}, blockIdx = {x, y, 0};
}
