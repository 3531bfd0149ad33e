(ns httpkit.channel-churn-test
  (:require [clojure.test :refer [deftest is]]
            [httpkit.channel-churn :as churn]))

(deftest random-lives-of-channels-leave-nothing-behind
  (let [{:keys [visits channels left grown] :as all} (churn/run 20 (Long/getLong "httpkit.seed" (System/nanoTime)))]
    (is (< 100 (long visits)))
    (is (< 50 (long channels)))
    (is (= {} left) (pr-str all))
    (is (< (long grown) 100000000) (pr-str all))))
