// The operator dawn.RowsProduct(x float [..., K], w int8 [K, N], scale float [N]) -> float [..., N]
// for ONNX Runtime. Weights are constants and are packed when a session is opened.
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "abi.h"
#include "rows.h"

namespace {

using dawn::ort::Api;
using dawn::ort::CustomOp;
using dawn::ort::Handle;
using dawn::ort::Status;

constexpr std::size_t kMostAxes = 8;
constexpr std::size_t kPieces = 16;  // of the columns: whichever thread is free takes the next

// A failure that ONNX Runtime reports itself.
struct Failed {
  Status status;
};

void check(Status status) {
  if (status != nullptr) throw Failed{status};
}

struct Shape {
  std::int64_t sizes[kMostAxes];
  std::size_t axes;
};

Shape shape_of(const Api& api, Handle value) {
  Handle handle = nullptr;
  check(api.shape_of(value, &handle));
  Shape shape{};
  Status status = api.axes(handle, &shape.axes);
  const bool fits = status != nullptr || (shape.axes >= 1 && shape.axes <= kMostAxes);
  if (status == nullptr && fits) status = api.sizes(handle, shape.sizes, shape.axes);
  api.release_shape(handle);
  check(status);
  if (!fits) throw std::invalid_argument("RowsProduct: expected 1 to 8 axes");
  return shape;
}

template <class T>
T* data_of(const Api& api, Handle value) {
  void* found = nullptr;
  check(api.data(value, &found));
  return static_cast<T*>(found);
}

Handle constant(const Api& api, const void* info, std::size_t index) {
  int is_one = 0;
  Handle value = nullptr;
  check(api.constant(info, index, &is_one, &value));
  if (is_one == 0) throw std::invalid_argument("RowsProduct: w and scale must be constants");
  return value;
}

struct Free {
  void operator()(std::int8_t* memory) const { std::free(memory); }
};

class Product {
 public:
  Product(const Api& api, const void* info) : api_(api) {
    const dawn::Kernel* found[4];
    dawn::kernels_here(found);
    kernel_ = found[0];
    const Handle integers = constant(api, info, 1), scale = constant(api, info, 2);
    const Shape shape = shape_of(api, integers);
    const Shape scales = shape_of(api, scale);
    if (shape.axes != 2 || scales.axes != 1 || scales.sizes[0] != shape.sizes[1])
      throw std::invalid_argument("RowsProduct: expected w [K, N] and scale [N]");
    pack(data_of<std::int8_t>(api, integers), data_of<float>(api, scale),
         static_cast<std::size_t>(shape.sizes[0]), static_cast<std::size_t>(shape.sizes[1]));
  }

  void compute(Handle context) const {
    Handle input = nullptr, output = nullptr;
    check(api_.input(context, 0, &input));
    Shape shape = shape_of(api_, input);
    std::int64_t& last = shape.sizes[shape.axes - 1];
    if (last != static_cast<std::int64_t>(weights_.depth))
      throw std::invalid_argument("RowsProduct: rows are not as wide as the weights are deep");
    std::size_t rows = 1;
    for (std::size_t i = 0; i + 1 < shape.axes; ++i)
      rows *= static_cast<std::size_t>(shape.sizes[i]);
    last = static_cast<std::int64_t>(weights_.columns);
    check(api_.output(context, shape.sizes, shape.axes, &output));
    if (rows == 0 || weights_.columns == 0) return;
    run(context, rows, data_of<float>(api_, input), data_of<float>(api_, output));
  }

 private:
  // What a step needs beside its result; kept by every thread that runs steps.
  struct Scratch {
    std::vector<std::int8_t> integers;
    std::vector<std::int32_t> sums;
    std::vector<float> ranges;
  };

  struct Work {
    const Product* product;
    dawn::Rounded rounded;
    const float* x;
    float* y;
    std::size_t pieces;
  };

  void pack(const std::int8_t* integers, const float* scales, std::size_t depth,
            std::size_t columns) {
    const std::size_t groups = (depth + dawn::kDepth - 1) / dawn::kDepth;
    const std::size_t panels = (columns + dawn::kColumns - 1) / dawn::kColumns;
    const std::size_t bytes = std::max<std::size_t>(64, dawn::packed_bytes(depth, columns));
    packed_.reset(static_cast<std::int8_t*>(std::aligned_alloc(64, bytes)));
    if (packed_ == nullptr) throw std::bad_alloc();
    scales_.resize(panels * dawn::kColumns);
    dawn::pack(*kernel_, integers, scales, depth, columns, packed_.get(), scales_.data());
    weights_ = {depth, groups, columns, panels, packed_.get(), scales_.data()};
  }

  void run(Handle context, std::size_t rows, const float* x, float* y) const {
    thread_local Scratch scratch;
    scratch.integers.resize(rows * weights_.groups * dawn::kDepth);
    scratch.sums.resize(rows);
    scratch.ranges.resize(rows);
    const dawn::Rounded rounded = {rows, weights_.groups, scratch.integers.data(),
                                   scratch.sums.data(), scratch.ranges.data()};
    Work work = {this, rounded, x, y, std::min(kPieces, (weights_.panels + 2) / 3)};
    const std::size_t blocks = (rows + dawn::kRows - 1) / dawn::kRows;
    check(api_.parallel(context, round_block, blocks, &work));
    check(api_.parallel(context, multiply_piece, work.pieces, &work));
  }

  static void round_block(void* data, std::size_t block) {
    const Work& work = *static_cast<const Work*>(data);
    const Product& product = *work.product;
    product.kernel_->round(work.rounded, work.x, product.weights_.depth, block);
  }

  // Pieces begin at multiples of three panels, which tiles are wide at most.
  static void multiply_piece(void* data, std::size_t piece) {
    const Work& work = *static_cast<const Work*>(data);
    const Product& product = *work.product;
    const std::size_t panels = product.weights_.panels, threes = (panels + 2) / 3;
    const std::size_t first = threes * piece / work.pieces * 3;
    const std::size_t last = std::min(threes * (piece + 1) / work.pieces * 3, panels);
    product.kernel_->multiply(work.rounded, product.weights_, first, last, work.y);
  }

  Api api_;
  const dawn::Kernel* kernel_;
  std::unique_ptr<std::int8_t, Free> packed_;
  std::vector<float> scales_;
  dawn::Weights weights_{};
};

// Nothing is thrown through ONNX Runtime.
template <class Action>
Status guarded(const Api& api, Action action) {
  try {
    action();
    return nullptr;
  } catch (const Failed& failed) {
    return failed.status;
  } catch (const std::exception& error) {
    return api.failed(error.what());
  }
}

Status create(const CustomOp*, const void* table, const void* info, void** kernel) {
  const Api api(table);
  return guarded(api, [&] { *kernel = new Product(api, info); });
}

const void* table_of_api = nullptr;

Status compute(void* kernel, Handle context) {
  const Product& product = *static_cast<const Product*>(kernel);
  return guarded(Api(table_of_api), [&] { product.compute(context); });
}

const CustomOp rows_product = {
    dawn::ort::kOperatorVersion,
    nullptr,
    [](const CustomOp*) { return "RowsProduct"; },
    [](const CustomOp*) { return "CPUExecutionProvider"; },
    [](const CustomOp*, std::size_t i) { return i == 1 ? dawn::ort::kInt8 : dawn::ort::kFloat; },
    [](const CustomOp*) -> std::size_t { return 3; },
    [](const CustomOp*, std::size_t) { return dawn::ort::kFloat; },
    [](const CustomOp*) -> std::size_t { return 1; },
    nullptr,
    [](void* kernel) { delete static_cast<Product*>(kernel); },
    [](const CustomOp*, std::size_t) { return 0; },  // all are needed
    [](const CustomOp*, std::size_t) { return 0; },
    [](const CustomOp*, std::size_t) { return 0; },  // in the memory of the provider
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    create,
    compute,
};

}  // namespace

// Called by ONNX Runtime when the library is registered with the options of a session.
extern "C" __attribute__((visibility("default"))) Status RegisterCustomOps(
    Handle options, const dawn::ort::ApiBase* base) {
  table_of_api = base->get_api(dawn::ort::kApiVersion);
  if (table_of_api == nullptr)
    return Api(base->get_api(1)).failed("dawn-edge's operators need ONNX Runtime 1.17 or newer");
  const Api api(table_of_api);
  // Lives as long as the process: sessions refer to it.
  static Handle domain = nullptr;
  if (domain == nullptr) {
    if (Status status = api.create_domain("dawn", &domain)) return status;
    if (Status status = api.add_operator(domain, &rows_product)) return status;
  }
  return api.add_domain(options, domain);
}

// The kernel that is used on this processor.
extern "C" __attribute__((visibility("default"))) const char* dawn_kernel() {
  const dawn::Kernel* found[4];
  dawn::kernels_here(found);
  return found[0]->name;
}
