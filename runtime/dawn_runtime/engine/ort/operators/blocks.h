// What kernels have in common, compiled once for each of them with the instructions it may use.
//
// All of it is in a namespace without a name, and nothing of the standard library is called: a
// function that two files have in common would be taken from one of them, with its instructions.
#pragma once

#include "rows.h"

namespace dawn {
namespace {

#define DAWN_UNROLLED _Pragma("GCC unroll 32")

inline std::size_t least(std::size_t a, std::size_t b) { return a < b ? a : b; }

// As many numbers as one register holds.
#if defined(__AVX512F__)
constexpr std::size_t kLanes = 16;
#elif defined(__AVX__)
constexpr std::size_t kLanes = 8;
#else
constexpr std::size_t kLanes = 4;
#endif
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

// The largest magnitude of a row; NaN if something in it is not finite.
inline float range_of(const float* row, std::size_t depth) {
  Lanes highest = {}, lowest = {}, spoilt = {};
  for (std::size_t c = 0; c < depth; c += kLanes) {
    Lanes v = {};
    if (c + kLanes <= depth)
      __builtin_memcpy(&v, row + c, sizeof v);
    else
      __builtin_memcpy(&v, row + c, (depth - c) * sizeof(float));
    highest = v > highest ? v : highest;
    lowest = v < lowest ? v : lowest;
    spoilt += v * 0.0f;
  }
  float range = kTiny, spoil = 0;
  for (std::size_t j = 0; j < kLanes; ++j) {
    range = highest[j] > range ? highest[j] : range;
    range = -lowest[j] > range ? -lowest[j] : range;
    spoil += spoilt[j];
  }
  return range + spoil;
}

constexpr std::size_t kPiece = 256;  // columns that are rounded in one go

// Rounds up to `kPiece` columns of a row; returns the sum of the integers.
inline std::int32_t round_piece(const float* x, std::size_t count, float range,
                                std::int8_t* integers) {
  std::int32_t sum = 0;
  for (std::size_t c = 0; c < count; ++c) {
    float v = __builtin_rintf(x[c] / range / kStep);
    v = v > -127.0f ? v : -127.0f;  // and where it is no number
    v = v < 127.0f ? v : 127.0f;
    const std::int32_t step = static_cast<std::int32_t>(v);
    integers[c] = static_cast<std::int8_t>(step);
    sum += step;
  }
  return sum;
}

// Rounds the rows of a block; integers of one group of four columns lie side by side.
inline void round_block(const Rounded& rounded, const float* x, std::size_t depth,
                        std::size_t block) {
  const std::size_t first = block * kRows, rows = least(kRows, rounded.rows - first);
  std::int8_t* integers = rounded.integers + first * rounded.groups * kDepth;
  for (std::size_t i = 0; i < rows; ++i) {
    const float* row = x + (first + i) * depth;
    const float range = range_of(row, depth);
    std::int32_t sum = 0;
    for (std::size_t c = 0; c < depth; c += kPiece) {
      const std::size_t here = least(kPiece, depth - c);
      std::int8_t piece[kPiece];
      for (std::size_t k = here; k % kDepth != 0; ++k) piece[k] = 0;
      sum += round_piece(row + c, here, range, piece);
      std::int8_t* to = integers + (c / kDepth * rows + i) * kDepth;
      for (std::size_t k = 0; k < here; k += kDepth)
        __builtin_memcpy(to + k * rows, piece + k, kDepth);
    }
    rounded.sums[first + i] = sum;
    rounded.ranges[first + i] = range;
  }
}

// A tile: `integers` of some rows of a block of `stride` rows, times some panels.
struct Tile {
  const std::int8_t* integers;
  std::size_t stride;
  const std::int8_t* panels;
  std::size_t panel_bytes, groups;
  const std::int8_t* next;  // what is read after these panels, to be fetched meanwhile
  const std::int32_t* sums;
};

// Calls the tile of `rows` rows and `panels` panels; sums go to [rows][panels][16].
template <class Isa, int R = Isa::kTileRows, int P = Isa::kTilePanels>
inline void add_up(std::size_t rows, std::size_t panels, const Tile& tile, std::int32_t* sums) {
  if (rows == R && panels == P) {
    Isa::template tile<R, P>(tile, sums);
  } else if (rows != R) {
    if constexpr (R > 1) add_up<Isa, R - 1, P>(rows, panels, tile, sums);
  } else {
    if constexpr (P > 1) add_up<Isa, R, P - 1>(rows, panels, tile, sums);
  }
}

// Columns of the panels [first, last): the panels of a tile stay in the cache while all rows pass.
template <class Isa>
inline void multiply_panels(const Rounded& rounded, const Weights& weights, std::size_t first,
                            std::size_t last, float* y) {
  const std::size_t bytes = weights.groups * kColumns * kDepth;
  alignas(64) std::int32_t sums[Isa::kTileRows * Isa::kTilePanels * kColumns];
  for (std::size_t panel = first; panel < last; panel += Isa::kTilePanels) {
    const std::size_t panels = least(Isa::kTilePanels, last - panel);
    std::size_t turn = 0;
    for (std::size_t row = 0; row < rounded.rows; ++turn) {
      const std::size_t in_block = row % kRows, block = row - in_block;
      const std::size_t stride = least(kRows, rounded.rows - block);
      const std::size_t rows = least(Isa::kTileRows, stride - in_block);
      const std::size_t next = least(panel + panels + turn % panels, weights.panels - 1);
      const Tile tile = {
          rounded.integers + (block * weights.groups + in_block) * kDepth,
          stride,
          weights.integers + panel * bytes,
          bytes,
          weights.groups,
          weights.integers + next * bytes,
          rounded.sums + row,
      };
      add_up<Isa>(rows, panels, tile, sums);
      for (std::size_t i = 0; i < rows; ++i) {
        const float range = rounded.ranges[row + i];
        for (std::size_t p = 0; p < panels; ++p) {
          const std::size_t column = (panel + p) * kColumns;
          const std::int32_t* sum = sums + (i * panels + p) * kColumns;
          const float* scales = weights.scales + column;
          float* to = y + (row + i) * weights.columns + column;
          if (column + kColumns <= weights.columns) {
            for (std::size_t j = 0; j < kColumns; ++j)
              to[j] = static_cast<float>(sum[j]) * scales[j] * range;
          } else {
            for (std::size_t j = 0; j < weights.columns - column; ++j)
              to[j] = static_cast<float>(sum[j]) * scales[j] * range;
          }
        }
      }
      row += rows;
    }
  }
}

}  // namespace
}  // namespace dawn
