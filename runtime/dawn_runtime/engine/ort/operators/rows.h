// Products of rows with INT8 weights; every row is rounded by a range of its own.
//
//     r = max(max(x), -min(x), 1e-30)             of each row
//     a = round(x / r / step), step = 1 / 127     ties to even: -127 .. 127
//     y = sum(a * w) * (step * scale) * r         sums of integers are exact
//
// These are the operations of the graph without this library, in its order: every bit is the same,
// whichever kernel runs. A row that is not finite gives NaN.
//
// Weights lie in panels of 16 columns, [N / 16][K / 4][16][4]; rows in blocks of 8, [K / 4][8][4],
// the last block as narrow as it is. What is missing at an edge is zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dawn {

constexpr std::size_t kColumns = 16;  // of a panel
constexpr std::size_t kDepth = 4;     // products that one instruction adds up
constexpr std::size_t kRows = 8;      // of a block
constexpr float kStep = static_cast<float>(1.0 / 127.0);
constexpr float kTiny = 1e-30f;

// Weights [depth, columns], packed; memory belongs to somebody else.
struct Weights {
  std::size_t depth, groups, columns, panels;
  const std::int8_t* integers;  // [panels][groups][16][4], 64 bytes aligned
  const float* scales;          // step * scale, [panels * 16]
};

// Rows [rows, 4 * groups], rounded.
struct Rounded {
  std::size_t rows, groups;
  std::int8_t* integers;  // blocks of [groups][rows of the block][4]
  std::int32_t* sums;     // of each row's integers
  float* ranges;
};

// One way to compute, for one kind of processor.
struct Kernel {
  const char* name;
  std::uint8_t flipped;  // weights are stored with these bits turned over
  bool (*runs_here)();
  // Rounds the rows of one block of x [rows, depth].
  void (*round)(const Rounded& rounded, const float* x, std::size_t depth, std::size_t block);
  // Computes the columns of the panels [first, last) of y [rows, columns].
  void (*multiply)(const Rounded& rounded, const Weights& weights, std::size_t first,
                   std::size_t last, float* y);
};

extern const Kernel kPlain;  // on every processor; what the others are compared with
#if defined(__x86_64__)
extern const Kernel kAvx2, kAvx512;
#elif defined(__aarch64__)
extern const Kernel kNeon;
#endif

// Every kernel that runs on this processor, the fastest first; returns how many there are.
std::size_t kernels_here(const Kernel* (&found)[4]);

// Bytes of packed weights, and packing them: integers [depth, columns], scales [columns].
std::size_t packed_bytes(std::size_t depth, std::size_t columns);
void pack(const Kernel& kernel, const std::int8_t* integers, const float* scales, std::size_t depth,
          std::size_t columns, std::int8_t* packed, float* packed_scales);

}  // namespace dawn
