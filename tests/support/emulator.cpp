// Runs kernels as a GPU does: each thread of a block is a thread, and a barrier holds all of them.
//
//     emulator FILE BYTES ADDRESS [BARRIER]
//
// FILE is mapped at ADDRESS, where whoever asks has it too: pointers mean the same on both sides.
// The barrier of that number is left out. Requests come a line each, numbers in hexadecimal:
//
//     reset                                   nothing is allocated
//     allow ADDRESS BYTES                     this is, the rest of the memory is out of bounds
//     run KERNEL WIDTH HEIGHT THREADS BITS... a launch, and the bits of its arguments
//
// and each is answered by `done`. What is wrong goes to standard error: what sanitizers find, and
// threads of a block that are at different barriers. Blocks run one after another; what they share
// is filled with garbage before each of them.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum { NONE = -1, BEGIN = -2, END = -3 };
static int left_out = NONE;

// Threads of a block wait for each other, all at the same place.
class Barrier {
public:
    explicit Barrier(unsigned threads) { pthread_barrier_init(&barrier, nullptr, threads); }
    ~Barrier() { pthread_barrier_destroy(&barrier); }

    // Args: the place, and how often this thread has waited before.
    void wait(int place, unsigned turn) {
        int others = NONE;
        // Relaxed, so that sanitizers see no order in it.
        if (!places[turn % 2].compare_exchange_strong(others, place, std::memory_order_relaxed) &&
            others != place) {
            std::fprintf(stderr, "threads are at barriers %d and %d\n", others, place);
            std::_Exit(3);
        }
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            places[turn % 2].store(NONE, std::memory_order_relaxed);
    }

private:
    pthread_barrier_t barrier;
    std::atomic<int> places[2] = {{NONE}, {NONE}};
};

static Barrier* everyone = nullptr;
static thread_local unsigned turn = 0;
static void meet(int place) {
    if (place != left_out) everyone->wait(place, turn++);
}

#define BARRIER(number) meet((number) - BEFORE)
#include "cuda_shim.h"
enum { BEFORE = __COUNTER__ + 1 };
#include "kernels.inc"
enum { BARRIERS = __COUNTER__ - BEFORE };

// Where the linker puts what a block shares.
extern "C" char __start_shared_memory[], __stop_shared_memory[];

typedef std::vector<uint64_t> Bits;

// Words of the request that is being read.
static const char SPACES[] = " \n";
static const char* next_word() { return std::strtok(nullptr, SPACES); }
static uint64_t next_number() { return std::strtoull(next_word(), nullptr, 16); }

template <class T> static T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class... A, size_t... I>
static void call(void (*kernel)(A...), const Bits& bits, std::index_sequence<I...>) {
    kernel(from_bits<std::remove_cv_t<A>>(bits[I])...);
}

// What one thread does of a whole grid, block after block.
template <class... A>
static void run_thread(
    void (*kernel)(A...), unsigned number, unsigned width, unsigned height, const Bits& bits) {
    threadIdx = {number, 0, 0};
    for (unsigned block = 0; block < width * height; ++block) {
        if (number == 0) {
            std::memset(__start_shared_memory, 0xA5, __stop_shared_memory - __start_shared_memory);
            enter_block(width, height, block % width, block / width);
        }
        meet(BEGIN);
        call(kernel, bits, std::index_sequence_for<A...>{});
        meet(END);
    }
}

template <class... A>
static void run_grid(void (*kernel)(A...)) {
    const unsigned width = next_number(), height = next_number(), threads = next_number();
    Bits bits;
    while (const char* word = next_word()) bits.push_back(std::strtoull(word, nullptr, 16));
    if (bits.size() != sizeof...(A)) {
        std::fprintf(stderr, "got %zu arguments, expected %zu\n", bits.size(), sizeof...(A));
        std::exit(2);
    }
    blockDim = {threads, 1, 1};
    Barrier barrier(threads);
    everyone = &barrier;
    std::vector<std::thread> block;
    for (unsigned number = 0; number < threads; ++number)
        block.emplace_back([&, number] { run_thread(kernel, number, width, height, bits); });
    for (std::thread& one : block) one.join();
}

static void run() {
    const char* name = next_word();
#define KERNEL(kernel) if (!std::strcmp(name, #kernel)) return run_grid(kernel);
    KERNELS
    std::fprintf(stderr, "no kernel %s\n", name);
    std::exit(2);
}

int main(int count, char** arguments) {
    if (count < 4) return 2;
    const size_t size = std::strtoull(arguments[2], nullptr, 16);
    void* wanted = (void*)std::strtoull(arguments[3], nullptr, 16);
    const int file = open(arguments[1], O_RDWR);
    const int flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
    void* memory = mmap(wanted, size, PROT_READ | PROT_WRITE, flags, file, 0);
    if (memory != wanted) {
        std::perror("the memory cannot be mapped");
        return 2;
    }
    if (count > 4) left_out = std::atoi(arguments[4]);
    std::printf("%d\n", BARRIERS);
    std::fflush(stdout);
    char* line = nullptr;
    for (size_t room = 0; getline(&line, &room, stdin) > 0;) {
        const char* verb = std::strtok(line, SPACES);
        if (!std::strcmp(verb, "reset")) {
            ASAN_POISON_MEMORY_REGION(memory, size);
        } else if (!std::strcmp(verb, "allow")) {
            void* address = (void*)next_number();
            ASAN_UNPOISON_MEMORY_REGION(address, next_number());
        } else {
            run();
        }
        std::puts("done");
        std::fflush(stdout);
    }
    return 0;
}
