// A libcuda.so.1 over host memory, for the real cuda-python.
//
// Work of a stream runs as late as CUDA allows: when somebody waits for it. Until then a copy has
// not read its source, pageable or not. Memory begins as garbage. What needs a context fails without
// one, and what a capture forbids spoils it, see "CUDA graphs" in the CUDA C++ Programming Guide and
// the API reference. What was made and not yet given up is counted by kind; what no program may do
// is noted. Kernels are those of dawn_runtime/cuda, as plain C++; module images are not looked at.
#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuda_shim.h"
#include "kernels.inc"

#define API extern "C" __attribute__((visibility("default")))

enum {
    SUCCESS = 0, INVALID_VALUE = 1, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500,
    NOT_READY = 600, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901,
};

typedef std::function<void()> Work;
typedef std::vector<Work> Works;

struct Stream {
    Works queue;
    Works* recorded = nullptr;  // while a graph is captured
    std::thread::id recorder;
    bool spoilt = false;
};

struct Event {
    bool passed = false;
    std::chrono::steady_clock::time_point when;
};

static std::recursive_mutex lock;
static std::map<std::string, long> live, calls;
static std::vector<std::string> problems;
static std::map<char*, size_t> on_device, pinned;
static std::map<Stream*, bool> streams;
static thread_local bool entered = false;

static void note(const std::string& problem) { problems.push_back(problem); }

static bool inside(const std::map<char*, size_t>& memory, const void* at, size_t size) {
    auto next = memory.upper_bound((char*)at);
    if (next == memory.begin()) return false;
    --next;
    return (char*)at + size <= next->first + next->second;
}

static void drain(Stream* stream) {
    Works works;
    works.swap(stream->queue);
    for (Work& work : works) work();
}

static void drain_all() {
    for (auto& one : streams) drain(one.first);
}

static void put(Stream* stream, Work work) {
    if (!stream->recorded) return stream->queue.push_back(std::move(work));
    if (stream->recorder != std::this_thread::get_id())
        note("work of another thread is captured");
    stream->recorded->push_back(std::move(work));
}

// Whether this thread may not do what a capture forbids; that spoils the capture.
static bool forbidden(const char* name) {
    for (auto& one : streams)
        if (one.first->recorded && one.first->recorder == std::this_thread::get_id()) {
            note(std::string(name) + " while a graph is captured");
            return one.first->spoilt = true;
        }
    return false;
}

#define ENTER                                                \
    std::lock_guard<std::recursive_mutex> guard(lock);       \
    calls[__func__]++;                                       \
    if (!entered) {                                          \
        note(std::string(__func__) + " without a context");  \
        return INVALID_CONTEXT;                              \
    }
#define ENTER_UNCAPTURED \
    ENTER                \
    if (forbidden(__func__)) return CAPTURE_UNSUPPORTED;

// For the tests: what is alive, what was called, what was wrong; work of an engine on a stream.
API long stub_live(const char* kind) { return live[kind]; }
API long stub_calls(const char* name) { return calls[name]; }
API void stub_problems(char* text, long size) {
    std::string all;
    for (auto& one : problems) all += one + "\n";
    std::strncpy(text, all.c_str(), size);
}
API void stub_enqueue(void* stream, void (*work)(long), long number) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    put((Stream*)stream, [=] { work(number); });
}
API int stub_capturing(void* stream) { return ((Stream*)stream)->recorded != nullptr; }

API int cuInit(unsigned) { return SUCCESS; }
API int cuDriverGetVersion(int* version) { return *version = 13000, SUCCESS; }
API int cuDeviceGetCount(int* count) { return *count = 1, SUCCESS; }
API int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, SUCCESS; }
API int cuDeviceGetAttribute(int* value, int attribute, int) {
    return *value = attribute == 75 ? 8 : 7, SUCCESS;  // compute capability 8.7
}
API int cuDevicePrimaryCtxRetain(void** context, int) {
    return live["context"]++, *context = &live, SUCCESS;
}
API int cuDevicePrimaryCtxRelease_v2(int) { return live["context"]--, SUCCESS; }
API int cuCtxSetCurrent(void* context) { return entered = context, SUCCESS; }

API int cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER
    return *free = 1 << 30, *total = 1ull << 33, SUCCESS;
}

static int allocate(std::map<char*, size_t>& memory, const char* kind, void** address, size_t size) {
    if (!size) return INVALID_VALUE;
    char* made = (char*)std::aligned_alloc(256, (size + 255) / 256 * 256);
    std::memset(made, 0xCD, size);
    memory[made] = size, *address = made, live[kind]++;
    return SUCCESS;
}

static int give_up(std::map<char*, size_t>& memory, const char* kind, void* address) {
    auto found = memory.find((char*)address);
    if (found == memory.end()) return note(std::string(kind) + " is freed twice"), INVALID_VALUE;
    drain_all();
    std::memset(address, 0xDD, found->second);
    memory.erase(found), live[kind]--, std::free(address);
    return SUCCESS;
}

API int cuMemAlloc_v2(unsigned long long* address, size_t size) {
    ENTER_UNCAPTURED
    return allocate(on_device, "memory", (void**)address, size);
}
API int cuMemFree_v2(unsigned long long address) {
    ENTER_UNCAPTURED
    return give_up(on_device, "memory", (void*)address);
}
API int cuMemAllocHost_v2(void** address, size_t size) {
    ENTER_UNCAPTURED
    return allocate(pinned, "pinned", address, size);
}
API int cuMemFreeHost(void* address) {
    ENTER_UNCAPTURED
    return give_up(pinned, "pinned", address);
}

API int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t size, void* stream) {
    ENTER
    if (!inside(on_device, (void*)to, size)) return note("memset out of bounds"), INVALID_VALUE;
    put((Stream*)stream, [=] { std::memset((void*)to, value, size); });
    return SUCCESS;
}
API int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t size, void* stream) {
    ENTER
    if (!size) note("a copy of nothing");
    if (!inside(on_device, (void*)to, size)) return note("upload out of bounds"), INVALID_VALUE;
    if (((Stream*)stream)->recorded && !inside(pinned, from, size))
        note("pageable memory in a graph");
    put((Stream*)stream, [=] { std::memcpy((void*)to, from, size); });
    return SUCCESS;
}
API int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t size, void* stream) {
    ENTER
    if (!size) note("a copy of nothing");
    if (!inside(on_device, (void*)from, size)) return note("download out of bounds"), INVALID_VALUE;
    Work copy = [=] { std::memcpy(to, (void*)from, size); };
    if (inside(pinned, to, size)) return put((Stream*)stream, copy), SUCCESS;
    if (forbidden(__func__)) return CAPTURE_UNSUPPORTED;
    drain((Stream*)stream);  // whoever copies to pageable memory waits
    copy();
    return SUCCESS;
}

API int cuStreamCreate(void** stream, unsigned) {
    ENTER
    Stream* made = new Stream;
    return streams[made] = true, live["stream"]++, *stream = made, SUCCESS;
}
API int cuStreamDestroy_v2(void* stream) {
    ENTER
    drain((Stream*)stream);
    return streams.erase((Stream*)stream), live["stream"]--, delete (Stream*)stream, SUCCESS;
}
API int cuStreamSynchronize(void* stream) {
    ENTER_UNCAPTURED
    return drain((Stream*)stream), SUCCESS;
}

API int cuEventCreate(void** event, unsigned) {
    ENTER
    return live["event"]++, *event = new Event, SUCCESS;
}
API int cuEventDestroy_v2(void* event) {
    ENTER
    drain_all();
    return live["event"]--, delete (Event*)event, SUCCESS;
}
API int cuEventRecord(void* event, void* stream) {
    ENTER
    Event* one = (Event*)event;
    one->passed = false;
    put((Stream*)stream, [=] { one->passed = true, one->when = std::chrono::steady_clock::now(); });
    return SUCCESS;
}
API int cuEventElapsedTime_v2(float* milliseconds, void* begin, void* end) {
    ENTER
    if (!((Event*)begin)->passed || !((Event*)end)->passed)
        return note("the time of an event that has not passed"), NOT_READY;
    std::chrono::duration<float, std::milli> took = ((Event*)end)->when - ((Event*)begin)->when;
    return *milliseconds = took.count(), SUCCESS;
}

API int cuStreamBeginCapture_v2(void* stream, int) {
    ENTER_UNCAPTURED
    Stream* one = (Stream*)stream;
    one->recorded = new Works, one->recorder = std::this_thread::get_id(), one->spoilt = false;
    return live["graph"]++, SUCCESS;
}
API int cuStreamEndCapture(void* stream, void** graph) {
    ENTER
    Stream* one = (Stream*)stream;
    *graph = one->recorded, one->recorded = nullptr;
    if (!one->spoilt) return SUCCESS;
    delete (Works*)*graph;
    return *graph = nullptr, live["graph"]--, CAPTURE_INVALIDATED;
}
API int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
    ENTER
    return live["executable"]++, *executable = new Works(*(Works*)graph), SUCCESS;
}
API int cuGraphDestroy(void* graph) {
    ENTER
    return live["graph"]--, delete (Works*)graph, SUCCESS;
}
API int cuGraphExecDestroy(void* executable) {
    ENTER
    drain_all();
    return live["executable"]--, delete (Works*)executable, SUCCESS;
}
API int cuGraphLaunch(void* executable, void* stream) {
    ENTER
    for (Work& work : *(Works*)executable) put((Stream*)stream, work);
    return SUCCESS;
}

// Starts a kernel: its arguments are read now, what they point at later.
template <class... A, size_t... I>
static Work bound(void (*kernel)(A...), unsigned width, unsigned height, void** arguments,
                  std::index_sequence<I...>) {
    auto values = std::make_tuple(*(std::remove_cv_t<A>*)arguments[I]...);
    return [=] {
        for (unsigned y = 0; y < height; ++y)
            for (unsigned x = 0; x < width; ++x) {
                enter_block(width, height, x, y);
                kernel(std::get<I>(values)...);
            }
    };
}
template <class... A>
static Work bind(void (*kernel)(A...), unsigned width, unsigned height, void** arguments) {
    return bound(kernel, width, height, arguments, std::index_sequence_for<A...>{});
}
struct Kernel {
    const char* name;
    Work (*bind)(unsigned, unsigned, void**);
};
static Kernel known[] = {
#define KERNEL(kernel) \
    {#kernel, [](unsigned x, unsigned y, void** values) { return bind(kernel, x, y, values); }},
    KERNELS
};

API int cuModuleLoadData(void** module, const void* image) {
    ENTER_UNCAPTURED
    if (std::memcmp(image, "\x7f" "ELF", 4)) return INVALID_IMAGE;
    return live["module"]++, *module = &live, SUCCESS;
}
API int cuModuleUnload(void*) {
    ENTER_UNCAPTURED
    return live["module"]--, SUCCESS;
}
API int cuModuleGetFunction(void** function, void*, const char* name) {
    ENTER
    for (Kernel& one : known)
        if (!std::strcmp(one.name, name)) return *function = &one, SUCCESS;
    return NOT_FOUND;
}
API int cuLaunchKernel(void* function, unsigned width, unsigned height, unsigned depth,
                       unsigned threads, unsigned, unsigned, unsigned, void* stream,
                       void** arguments, void**) {
    ENTER
    if (!width || !height || height > 65535 || depth != 1 || !threads || threads > 1024)
        return note("a grid that no GPU has"), INVALID_VALUE;
    put((Stream*)stream, ((Kernel*)function)->bind(width, height, arguments));
    return SUCCESS;
}

// cuda-python asks for functions by the names of the documentation, which are those of an interface;
// what is exported has the version in its name.
API int cuGetProcAddress_v2(const char* name, void** found, int, unsigned long long, int* status) {
    static void* const self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    *found = nullptr;
    for (const char* version : {"_v2", "", "WithFlags"})
        if (!*found) *found = dlsym(self, (std::string(name) + version).c_str());
    if (status) *status = *found ? 0 : 1;
    return SUCCESS;
}
API int cuGetProcAddress(const char* name, void** found, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, found, version, flags, nullptr);
}
