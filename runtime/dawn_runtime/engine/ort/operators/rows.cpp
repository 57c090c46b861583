// Which kernels run here, packing of weights, and plain functions for tests and measurements.
#include "rows.h"

#include <cstring>

namespace dawn {

std::size_t kernels_here(const Kernel* (&found)[4]) {
  const Kernel* const all[] = {
#if defined(__x86_64__)
      &kAvx512, &kAvx2,
#elif defined(__aarch64__)
      &kNeon,
#endif
      &kPlain};
  std::size_t count = 0;
  for (const Kernel* kernel : all)
    if (kernel->runs_here()) found[count++] = kernel;
  return count;
}

static std::size_t up(std::size_t size, std::size_t step) { return (size + step - 1) / step; }

std::size_t packed_bytes(std::size_t depth, std::size_t columns) {
  return up(columns, kColumns) * up(depth, kDepth) * kColumns * kDepth;
}

void pack(const Kernel& kernel, const std::int8_t* integers, const float* scales, std::size_t depth,
          std::size_t columns, std::int8_t* packed, float* packed_scales) {
  const std::size_t groups = up(depth, kDepth), panels = up(columns, kColumns);
  std::memset(packed, kernel.flipped, packed_bytes(depth, columns));
  for (std::size_t p = 0; p < panels; ++p) {
    const std::size_t first = p * kColumns;
    const std::size_t here = columns - first < kColumns ? columns - first : kColumns;
    for (std::size_t k = 0; k < depth; ++k) {
      std::int8_t* to = packed + ((p * groups + k / kDepth) * kColumns) * kDepth + k % kDepth;
      const std::int8_t* from = integers + k * columns + first;
      for (std::size_t j = 0; j < here; ++j)
        to[j * kDepth] = static_cast<std::int8_t>(from[j] ^ kernel.flipped);
    }
    for (std::size_t j = 0; j < kColumns; ++j)
      packed_scales[first + j] = j < here ? kStep * scales[first + j] : 0;
  }
}

}  // namespace dawn
