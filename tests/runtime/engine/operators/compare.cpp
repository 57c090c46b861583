// Compares every kernel that runs here with products written out, bit by bit, and prints its name.
// Numbers come from a generator of its own, so that they are the same everywhere.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "rows.h"

namespace {

struct Generator {
  std::uint64_t state = 1;
  std::uint32_t next() {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint32_t>(state >> 33);
  }
};

struct Case {
  std::size_t rows, depth, columns;
  std::vector<float> x, scales;
  std::vector<std::int8_t> integers;
};

Case make(std::size_t rows, std::size_t depth, std::size_t columns, Generator& random) {
  Case made{rows, depth, columns, {}, {}, {}};
  for (std::size_t i = 0; i < rows; ++i) {
    const float size = std::pow(10.0f, static_cast<float>(random.next() % 7) - 3.0f);
    for (std::size_t k = 0; k < depth; ++k)
      made.x.push_back((static_cast<float>(random.next()) / 1073741824.0f - 1.0f) * size);
  }
  for (std::size_t k = 0; k < depth && rows > 2; ++k) made.x[2 * depth + k] = 0;
  for (std::size_t k = 0; k < depth && rows > 3; ++k)  // the largest sums there can be
    made.x[3 * depth + k] = k % 2 == 0 ? 5.0f : -5.0f;
  for (std::size_t i = 0; i < depth * columns; ++i)
    made.integers.push_back(static_cast<std::int8_t>(static_cast<int>(random.next() % 255) - 127));
  for (std::size_t k = 0; k < depth; ++k)
    made.integers[k * columns] = k % 2 == 0 ? 127 : -127;
  for (std::size_t j = 0; j < columns; ++j)
    made.scales.push_back(static_cast<float>(random.next() % 1000 + 1) * 1e-5f);
  return made;
}

// The product as rows.h defines it.
std::vector<float> written_out(const Case& c) {
  std::vector<float> y(c.rows * c.columns);
  std::vector<int> steps(c.depth);
  for (std::size_t i = 0; i < c.rows; ++i) {
    float range = dawn::kTiny;
    for (std::size_t k = 0; k < c.depth; ++k) range = std::fmax(range, std::fabs(c.x[i * c.depth + k]));
    for (std::size_t k = 0; k < c.depth; ++k)
      steps[k] = static_cast<int>(std::nearbyint(c.x[i * c.depth + k] / range / dawn::kStep));
    for (std::size_t j = 0; j < c.columns; ++j) {
      int sum = 0;
      for (std::size_t k = 0; k < c.depth; ++k) sum += steps[k] * c.integers[k * c.columns + j];
      const float scale = dawn::kStep * c.scales[j];
      const float scaled = static_cast<float>(sum) * scale;
      y[i * c.columns + j] = scaled * range;
    }
  }
  return y;
}

std::vector<float> computed(const dawn::Kernel& kernel, const Case& c) {
  const std::size_t groups = (c.depth + 3) / 4, panels = (c.columns + 15) / 16;
  const std::size_t bytes = dawn::packed_bytes(c.depth, c.columns);
  auto* packed = static_cast<std::int8_t*>(std::aligned_alloc(64, bytes));
  std::vector<float> scales(panels * 16), ranges(c.rows), y(c.rows * c.columns, -1.0f);
  std::vector<std::int8_t> integers(c.rows * groups * 4);
  std::vector<std::int32_t> sums(c.rows);
  dawn::pack(kernel, c.integers.data(), c.scales.data(), c.depth, c.columns, packed, scales.data());
  const dawn::Weights weights = {c.depth, groups, c.columns, panels, packed, scales.data()};
  const dawn::Rounded rounded = {c.rows, groups, integers.data(), sums.data(), ranges.data()};
  for (std::size_t block = 0; block * dawn::kRows < c.rows; ++block)
    kernel.round(rounded, c.x.data(), c.depth, block);
  const std::size_t middle = panels / 2;
  kernel.multiply(rounded, weights, middle, panels, y.data());
  kernel.multiply(rounded, weights, 0, middle, y.data());
  std::free(packed);
  return y;
}

int compare(const dawn::Kernel& kernel) {
  Generator random;
  int wrong = 0;
  for (std::size_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 33})
    for (std::size_t depth : {1, 4, 15, 96, 259, 900})
      for (std::size_t columns : {1, 15, 16, 31, 48, 50, 161}) {
        const Case made = make(rows, depth, columns, random);
        const std::vector<float> expected = written_out(made), found = computed(kernel, made);
        if (std::memcmp(expected.data(), found.data(), found.size() * sizeof(float)) == 0) continue;
        std::printf("%s: [%zu, %zu] x [%zu, %zu] differs\n", kernel.name, rows, depth, depth,
                    columns);
        ++wrong;
      }
  return wrong;
}

// A row that is not finite spoils itself alone.
int spoilt(const dawn::Kernel& kernel, float value) {
  Generator random;
  Case made = make(9, 40, 20, random);
  const std::vector<float> before = computed(kernel, made);
  made.x[4 * 40 + 39] = value;
  const std::vector<float> after = computed(kernel, made);
  for (std::size_t i = 0; i < after.size(); ++i) {
    const bool right = i / 20 == 4 ? std::isnan(after[i]) : after[i] == before[i];
    if (right) continue;
    std::printf("%s: row %zu after a row with %g\n", kernel.name, i / 20, static_cast<double>(value));
    return 1;
  }
  return 0;
}

}  // namespace

int main() {
  const dawn::Kernel* kernels[4];
  const std::size_t count = dawn::kernels_here(kernels);
  int wrong = 0;
  for (std::size_t i = 0; i < count; ++i) {
    wrong += compare(*kernels[i]) + spoilt(*kernels[i], std::numeric_limits<float>::infinity()) +
             spoilt(*kernels[i], std::numeric_limits<float>::quiet_NaN());
    std::printf("%s\n", kernels[i]->name);
  }
  return wrong == 0 ? 0 : 1;
}
