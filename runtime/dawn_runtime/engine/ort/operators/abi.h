// What is used of ONNX Runtime's C API, in words of our own: no header of it comes with its wheel.
//
// OrtApi is a table of functions that only grows: a function keeps its place in all releases
// (its sources check the size of every version at compile time). OrtCustomOp says by `version` how
// much of it there is; ours is that of version 16. ParallelFor came with version 17, which is what
// is asked of GetApi; a release that has it not gives null.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dawn::ort {

constexpr std::uint32_t kApiVersion = 17, kOperatorVersion = 16;
constexpr int kFloat = 1, kInt8 = 3;  // ONNXTensorElementDataType, as in TensorProto
constexpr int kFail = 1;              // OrtErrorCode

using Status = void*;  // null: it went well
using Handle = void*;  // OrtValue, OrtKernelInfo, OrtKernelContext, ... as the place says

// Places in OrtApi, counted in functions.
enum Place : int {
  kCreateStatus = 0,
  kCreateCustomOpDomain = 26,
  kCustomOpDomainAdd = 27,
  kAddCustomOpDomain = 28,
  kGetTensorMutableData = 51,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetTensorTypeAndShape = 65,
  kGetInput = 90,
  kGetOutput = 91,
  kReleaseTensorTypeAndShapeInfo = 99,
  kGetConstantInput = 249,
  kParallelFor = 274,
};

class Api {
 public:
  explicit Api(const void* table) : table_(static_cast<void* const*>(table)) {}

  Status failed(const char* message) const {
    return at<Status (*)(int, const char*)>(kCreateStatus)(kFail, message);
  }
  Status create_domain(const char* name, Handle* domain) const {
    return at<Status (*)(const char*, Handle*)>(kCreateCustomOpDomain)(name, domain);
  }
  Status add_operator(Handle domain, const void* custom) const {
    return at<Status (*)(Handle, const void*)>(kCustomOpDomainAdd)(domain, custom);
  }
  Status add_domain(Handle options, Handle domain) const {
    return at<Status (*)(Handle, Handle)>(kAddCustomOpDomain)(options, domain);
  }
  Status data(Handle value, void** found) const {
    return at<Status (*)(Handle, void**)>(kGetTensorMutableData)(value, found);
  }
  Status shape_of(Handle value, Handle* shape) const {
    return at<Status (*)(Handle, Handle*)>(kGetTensorTypeAndShape)(value, shape);
  }
  Status axes(Handle shape, std::size_t* count) const {
    return at<Status (*)(Handle, std::size_t*)>(kGetDimensionsCount)(shape, count);
  }
  Status sizes(Handle shape, std::int64_t* found, std::size_t count) const {
    return at<Status (*)(Handle, std::int64_t*, std::size_t)>(kGetDimensions)(shape, found, count);
  }
  void release_shape(Handle shape) const {
    at<void (*)(Handle)>(kReleaseTensorTypeAndShapeInfo)(shape);
  }
  Status input(Handle context, std::size_t index, Handle* value) const {
    return at<Status (*)(Handle, std::size_t, Handle*)>(kGetInput)(context, index, value);
  }
  Status output(Handle context, const std::int64_t* sizes, std::size_t axes, Handle* value) const {
    using Get = Status (*)(Handle, std::size_t, const std::int64_t*, std::size_t, Handle*);
    return at<Get>(kGetOutput)(context, 0, sizes, axes, value);
  }
  Status constant(const void* info, std::size_t index, int* is_one, Handle* value) const {
    using Get = Status (*)(const void*, std::size_t, int*, Handle*);
    return at<Get>(kGetConstantInput)(info, index, is_one, value);
  }
  // Calls work(data, i) for i in [0, count), on the threads of the session.
  Status parallel(Handle context, void (*work)(void*, std::size_t), std::size_t count,
                  void* data) const {
    using For =
        Status (*)(Handle, void (*)(void*, std::size_t), std::size_t, std::size_t, void*);
    return at<For>(kParallelFor)(context, work, count, count, data);
  }

 private:
  template <class Function>
  Function at(Place place) const {
    return reinterpret_cast<Function>(table_[place]);
  }

  void* const* table_;
};

// OrtApiBase.
struct ApiBase {
  const void* (*get_api)(std::uint32_t version);
  const char* (*version)();
};

// OrtCustomOp up to version 16; what is null is not called.
struct CustomOp {
  std::uint32_t version;
  void* (*create_kernel_v1)(const CustomOp*, const void* api, const void* info);
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);
  int (*input_type)(const CustomOp*, std::size_t);
  std::size_t (*inputs)(const CustomOp*);
  int (*output_type)(const CustomOp*, std::size_t);
  std::size_t (*outputs)(const CustomOp*);
  void (*compute_v1)(void* kernel, Handle context);
  void (*destroy)(void* kernel);
  int (*input_need)(const CustomOp*, std::size_t);
  int (*output_need)(const CustomOp*, std::size_t);
  int (*input_memory)(const CustomOp*, std::size_t);
  int (*variadic_inputs)(const CustomOp*);
  int (*variadic_input_kind)(const CustomOp*);
  int (*variadic_outputs)(const CustomOp*);
  int (*variadic_output_kind)(const CustomOp*);
  Status (*create_kernel)(const CustomOp*, const void* api, const void* info, void** kernel);
  Status (*compute)(void* kernel, Handle context);
};

}  // namespace dawn::ort
