// AVX2: 32 products in four instructions. `maddubs` multiplies unsigned with signed numbers and adds
// pairs in 16 bits: magnitudes of the row times weights with the row's sign, 2 * 127 * 127 at most.
#include <immintrin.h>

#include "blocks.h"

namespace dawn {
namespace {

struct Avx2 {
  static constexpr int kTileRows = 4, kTilePanels = 1;  // a panel takes two registers: 8 sums

  template <int R, int P>
  static void tile(const Tile& tile, std::int32_t* sums) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[R][2];
    DAWN_UNROLLED for (int i = 0; i < R; ++i) sum[i][0] = sum[i][1] = _mm256_setzero_si256();
    for (std::size_t g = 0; g < tile.groups; ++g) {
      const __m256i* panel = reinterpret_cast<const __m256i*>(tile.panels + g * 64);
      const __m256i low = _mm256_load_si256(panel), high = _mm256_load_si256(panel + 1);
      _mm_prefetch(reinterpret_cast<const char*>(tile.next + g * 64), _MM_HINT_T1);
      const std::int8_t* rows = tile.integers + g * tile.stride * kDepth;
      DAWN_UNROLLED for (int i = 0; i < R; ++i) {
        std::int32_t four;
        __builtin_memcpy(&four, rows + i * kDepth, sizeof four);
        const __m256i row = _mm256_set1_epi32(four), size = _mm256_abs_epi8(row);
        const __m256i a = _mm256_maddubs_epi16(size, _mm256_sign_epi8(low, row));
        const __m256i b = _mm256_maddubs_epi16(size, _mm256_sign_epi8(high, row));
        sum[i][0] = _mm256_add_epi32(sum[i][0], _mm256_madd_epi16(a, ones));
        sum[i][1] = _mm256_add_epi32(sum[i][1], _mm256_madd_epi16(b, ones));
      }
    }
    DAWN_UNROLLED for (int i = 0; i < R; ++i) {
      __m256i* to = reinterpret_cast<__m256i*>(sums + i * kColumns);
      _mm256_store_si256(to, sum[i][0]);
      _mm256_store_si256(to + 1, sum[i][1]);
    }
  }
};

bool runs_here() { return __builtin_cpu_supports("avx2"); }

}  // namespace

const Kernel kAvx2 = {"avx2", 0, runs_here, round_block, multiply_panels<Avx2>};

}  // namespace dawn
