(ns httpkit.utils-test
  "`org.httpkit.utils`, `org.httpkit.encode` and the linter's export."
  (:require [clojure.edn :as edn]
            [clojure.java.io :as io]
            [clojure.test :refer [deftest is testing are]]
            [org.httpkit.encode :refer [base64-encode]]
            [org.httpkit.utils :as utils])
  (:import [java.util.concurrent ArrayBlockingQueue BlockingQueue ExecutorService
            LinkedBlockingQueue RejectedExecutionException ThreadPoolExecutor TimeUnit]
           [org.httpkit VirtualThreads]))

(def ^:private server-opts
  {:default-prefix "http-kit-server-worker-" :default-queue-size 20480
   :n-max-threads-factor 16})

(def ^:private client-opts
  {:default-prefix "http-kit-client-worker-" :default-queue-type :linked
   :n-max-threads-factor 2 :keep-alive-msecs 60000})

(defn- call-on
  "Result of `f` on a thread of the pool."
  [^ExecutorService pool f]
  (.get (.submit pool ^Callable f) 10 TimeUnit/SECONDS))

(defn- fixed
  "What one sees of a fixed worker."
  [internal-opts user-opts]
  (let [worker (utils/new-worker internal-opts (merge {:allow-virtual? false} user-opts))
        pool   ^ThreadPoolExecutor (:pool worker)
        queue  ^BlockingQueue (:queue worker)]
    (try
      (is (= #{:type :n-cores :n-min-threads :n-max-threads :queue-type :queue-size :queue :pool}
             (set (keys worker))))
      (is (= :fixed (:type worker)))
      (is (identical? queue (.getQueue pool)))
      (is (= [(:n-min-threads worker) (:n-max-threads worker)]
             [(.getCorePoolSize pool) (.getMaximumPoolSize pool)]))
      {:threads    [(.getCorePoolSize pool) (.getMaximumPoolSize pool)]
       :queue      [(class queue) (.remainingCapacity queue)]
       :keep-alive (.getKeepAliveTime pool TimeUnit/SECONDS)
       :thread     (call-on pool #(let [t (Thread/currentThread)] [(.getName t) (.isDaemon t)]))
       :opts       (select-keys worker [:queue-type :queue-size])}
      (finally (.shutdownNow pool)))))

(def ^:private n-cores (.availableProcessors (Runtime/getRuntime)))

(defn- by-cores [factor] (max 2 (* factor n-cores)))

(deftest defaults-of-the-server
  (is (= {:threads    [(by-cores 1) (by-cores 16)]
          :queue      [ArrayBlockingQueue 20480]
          :keep-alive 0
          :thread     ["http-kit-server-worker-1" true]
          :opts       {:queue-type nil :queue-size 20480}}
         (fixed server-opts {}))))

(deftest defaults-of-the-client
  (is (= {:threads    [(by-cores 1) (by-cores 2)]
          :queue      [LinkedBlockingQueue Integer/MAX_VALUE]
          :keep-alive 60
          :thread     ["http-kit-client-worker-1" true]
          :opts       {:queue-type nil :queue-size nil}}
         (fixed client-opts {}))))

(deftest defaults-of-the-rest
  (is (= {:threads    [1 1]
          :queue      [LinkedBlockingQueue Integer/MAX_VALUE]
          :keep-alive 0
          :thread     ["http-kit-worker-1" true]
          :opts       {:queue-type :linked :queue-size nil}}
         (fixed {} {:queue-type :linked :n-threads 1})))
  (is (= [(by-cores 1) (by-cores 1)] (:threads (fixed {} {:queue-type :linked})))))

(deftest thread-counts
  (are [user-opts threads] (= threads (:threads (fixed server-opts user-opts)))
    {:n-threads 3}                                   [3 3]
    {:n-min-threads 2 :n-max-threads 5}              [2 5]
    {:n-threads 4 :n-max-threads 9}                  [4 9]
    {:n-threads 4 :n-min-threads 1}                  [1 4]
    {:n-threads nil}                                 [(by-cores 1) (by-cores 16)]
    {:n-min-threads nil :n-max-threads nil}          [(by-cores 1) (by-cores 16)]))

(deftest thread-counts-by-factor-are-rounded-and-2-at-least
  (is (= [(max 2 (Math/round (* 1.5 n-cores))) (max 2 (Math/round (* 2.25 n-cores)))]
         (:threads (fixed (assoc server-opts :n-min-threads-factor 1.5 :n-max-threads-factor 2.25)
                     {}))))
  (is (= [2 2] (:threads (fixed (assoc server-opts :n-min-threads-factor 0
                                  :n-max-threads-factor 0) {})))))

(deftest queues
  (are [user-opts queue opts] (= [queue opts]
                                 ((juxt :queue :opts) (fixed server-opts user-opts)))
    {:queue-size 7}                      [ArrayBlockingQueue 7]  {:queue-type nil :queue-size 7}
    {:queue-type :array :queue-size 5}   [ArrayBlockingQueue 5]  {:queue-type :array :queue-size 5}
    {:queue-type :linked :queue-size 9}  [LinkedBlockingQueue 9] {:queue-type :linked :queue-size 9}
    {:queue-type :linked}                [LinkedBlockingQueue 20480]
    {:queue-type :linked :queue-size 20480}))

(deftest prefixes
  (is (= ["pfx-1" true] (:thread (fixed server-opts {:prefix "pfx-"})))))

(deftest fixed-whatever-the-jvm-when-virtual-is-not-allowed
  (is (= :fixed
         (:type (utils/new-worker server-opts {:allow-virtual? nil}))
         (:type (utils/new-worker server-opts {:allow-virtual? false})))))

(deftest sizes-that-make-no-pool-are-refused
  (are [exception internal-opts user-opts]
       (thrown? exception
         (utils/new-worker internal-opts (merge {:allow-virtual? false} user-opts)))
    IllegalArgumentException server-opts {:n-min-threads 5 :n-max-threads 2}
    IllegalArgumentException server-opts {:queue-size 0}
    IllegalArgumentException server-opts {:queue-type :x}
    IllegalArgumentException server-opts {:n-threads 0}
    IllegalArgumentException server-opts {:n-threads -1}
    ClassCastException       server-opts {:n-threads "4"}
    NullPointerException     {}          {}
    NullPointerException     client-opts {:n-threads 1 :queue-type :array}))

(deftest other-arities-are-refused
  (is (thrown? clojure.lang.ArityException (apply utils/new-worker [{}])))
  (is (thrown? clojure.lang.ArityException (apply utils/new-worker [{} {} {}]))))

(deftest a-full-queue-rejects
  (let [{:keys [^ThreadPoolExecutor pool]}
        (utils/new-worker server-opts {:allow-virtual? false :n-threads 1 :queue-size 1})
        gate (promise)
        task #(deref gate 10000 nil)]
    (try
      (.submit pool ^Runnable task)
      (.submit pool ^Runnable task)
      (is (thrown? RejectedExecutionException (.submit pool ^Runnable task)))
      (finally (deliver gate true) (.shutdown pool)))
    (is (.awaitTermination pool 10 TimeUnit/SECONDS))))

;;;; What the JVM can do

(deftest java-versions
  (are [n yes?] (= yes? (utils/java-version>= n))
    8 true, 11 true, 99 false)
  (let [n (.feature (Runtime/version))]
    (is (true? (utils/java-version>= n)))
    (is (false? (utils/java-version>= (inc n))))))

(deftest virtual-threads-from-java-21-on
  (is (= (utils/java-version>= 21) (utils/have-virtual-threads?) (VirtualThreads/available))))

(deftest virtual-threads-are-the-default-where-there-are-any
  (doseq [user-opts [{} {:allow-virtual? true} {:n-threads 1 :prefix "p" :queue-type :x}]
          :when (utils/have-virtual-threads?)]
    (let [{:keys [type n-cores pool] :as worker} (utils/new-worker server-opts user-opts)]
      (is (= #{:type :n-cores :pool} (set (keys worker))))
      (is (= [:virtual httpkit.utils-test/n-cores] [type n-cores]))
      (is (= ["" true] (call-on pool #(let [t (Thread/currentThread)]
                                        [(.getName t) (.isDaemon t)]))))
      (.shutdown ^ExecutorService pool)))
  (when-not (utils/have-virtual-threads?)
    (is (thrown? UnsupportedOperationException (VirtualThreads/newExecutor)))
    (let [worker (utils/new-worker server-opts {})]
      (is (= :fixed (:type worker)))
      (.shutdown ^ExecutorService (:pool worker)))))

(deftest compile-if-chooses-while-compiling
  (is (= :then (utils/compile-if true :then (throw (Exception.)))))
  (is (= :else (utils/compile-if nil  (throw (Exception.)) :else)))
  (is (= :else (utils/compile-if (throw (Exception.)) :then :else)))
  (is (= :else (utils/compile-if (Class/forName "no.such.Class") (no.such.Class.) :else))
      "the branch not taken need not compile"))

(deftest no-other-publics
  (is (empty? (remove '#{new-worker java-version>= have-virtual-threads? compile-if native-info}
                (keys (ns-publics 'org.httpkit.utils))))))

;;;; Base64

(deftest base64-is-standard-padded-and-on-one-line
  (are [bs s] (= s (base64-encode (byte-array bs)))
    []              ""
    [97]            "YQ=="
    [97 97]         "YWE="
    [97 97 97]      "YWFh"
    [-5 -1 -2]      "+//+")
  (is (re-matches #"(eHh4){33}eA==" (base64-encode (byte-array (repeat 100 120))))))

(deftest base64-evaluates-its-argument-once
  (let [n (atom 0)]
    (base64-encode (do (swap! n inc) (byte-array 1)))
    (is (= 1 @n))))

;;;; clj-kondo

(defn- stub-hooks-api
  "Just enough of clj-kondo for hooks that build nodes; nodes are forms here."
  []
  (let [api 'clj-kondo.hooks-api]
    (when-not (find-ns api)
      (create-ns api)
      (intern api 'list-node   (fn [children] (apply list children)))
      (intern api 'vector-node vec)
      (intern api 'token-node  identity)
      (dosync (commute @#'clojure.core/*loaded-libs* conj api)))))

(deftest linter-knows-the-channel-that-with-channel-binds
  (let [export "clj-kondo.exports/http-kit/http-kit/"
        hook   (-> (io/resource (str export "config.edn")) slurp edn/read-string
                   (get-in [:hooks :analyze-call 'org.httpkit.server/with-channel]))]
    (stub-hooks-api)
    (is (= 'httpkit.with-channel/with-channel hook))
    (load-string (slurp (io/resource (str export "httpkit/with_channel.clj"))))
    (is (= {:node '(let [ch req] (on-close ch f) (send! ch "x"))}
           ((resolve hook)
            {:node {:children '(with-channel req ch (on-close ch f) (send! ch "x"))}})))))
