(ns httpkit.soak-test
  "The soak test in short: `./dev churn` is the long one."
  (:require [clojure.test :refer [deftest is testing]]
            [httpkit.soak :as soak])
  (:import (java.util.concurrent Executors)))

(set! *warn-on-reflection* true)

(deftest nothing-leaks-and-every-answer-is-its-own
  (doseq [[about options] {"default"       {}
                           "own threads"   {:allow-virtual? false}
                           "a user's pool" {:worker-pool ::pool}
                           "two loops"     {:io-threads 2}}
          :let [seed (System/nanoTime)]]
    (testing (str about ", seed " seed)
      (let [options #(cond-> options
                       (:worker-pool options) (assoc :worker-pool (Executors/newFixedThreadPool 4)))]
        ;; So short a run sees more of the JIT compiler than of a leak: the long one looks at memory closely.
        (is (= [] (soak/failures (* 200 1024) (soak/run {:requests 1500 :seed seed :options options}))))))))
